"""What transactional does with the engine: from an event of P0 to the provider."""
