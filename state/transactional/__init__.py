"""What a lane of transactional keeps on disk."""
