"""What each command of `carillon` does, one file per command; `flows.cli` knows their arguments."""
