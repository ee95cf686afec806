"""What decide does with the engine: key groups, their outputs, the credit of an epoch."""
