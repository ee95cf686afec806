"""Thin Bytewax logic around the operators."""
