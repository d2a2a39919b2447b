"""One image: open, plan, read, decode, and remember where its tile-parts lie."""
