"""Records: a JSON line per item, beside the output."""
