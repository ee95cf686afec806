"""Edges to the outside: logs, providers, caches, HTTP."""
