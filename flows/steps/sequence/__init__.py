"""What sequence does with the engine: its source, and the order in which it reads."""
