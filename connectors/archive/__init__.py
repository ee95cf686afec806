"""The ledger outside the log: Parquet parts under a committed manifest, and queries over both."""
