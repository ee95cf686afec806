"""The HTTP API: who may ask what, admission, and what is true now as users and host applications set it."""
