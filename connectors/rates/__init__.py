"""The rate of a provider, where several processes share it."""
