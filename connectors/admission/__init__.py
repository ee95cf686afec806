"""The store of accepted events that several gateways share."""
