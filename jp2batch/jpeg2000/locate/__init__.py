"""Location of tile-parts: by TLM, index, SOT chain or search."""
