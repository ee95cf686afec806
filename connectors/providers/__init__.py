"""Channels and their providers: one interface, one transport."""
