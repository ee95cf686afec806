"""The ledger, the decision log and the dead letters outside the log: Parquet by hour, and readers over both."""
