"""What sequence keeps: marks of repeats, placement, its checkpoint."""
