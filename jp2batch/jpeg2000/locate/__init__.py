"""Find tile-parts: by TLM, by an index, along the chain of SOTs, or by searching."""
