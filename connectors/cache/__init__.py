"""Redis: what several processes share and may lose."""
