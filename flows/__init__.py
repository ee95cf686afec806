"""Bytewax flows: wiring only."""
