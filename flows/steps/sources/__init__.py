"""Sources of the flows: one with a single owner, and how each shows that it makes progress."""
