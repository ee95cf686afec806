"""Push to devices."""
