"""What decide keeps of each key group, and its checkpoint."""
