"""The domain: errors, keys, events, registry, records. No I/O."""
