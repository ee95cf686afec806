"""The dispatcher: from a delivery to a provider's answer, with an intent before every send."""
