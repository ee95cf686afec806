"""The configuration: options, settings, credentials, and what is made from them."""
