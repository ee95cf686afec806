"""What transactional does with the engine: lanes of P0, from event to provider."""
