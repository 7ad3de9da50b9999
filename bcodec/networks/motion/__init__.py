"""Motion of a B frame: its codec, what is expected of it, and what both sides compute of blocks."""
