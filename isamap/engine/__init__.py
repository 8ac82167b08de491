"""How work gets done: the streaming pipeline and the tile list."""
