"""The console at `/console`: pages for those who operate the system and help its users. Never content."""
