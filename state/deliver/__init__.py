"""What a lane of deliver keeps on disk."""
