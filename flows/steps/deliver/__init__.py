"""What deliver does with the engine: lanes of P1 and P2, what they read and count."""
