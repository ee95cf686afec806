"""What the lanes of deliver and transactional share."""
