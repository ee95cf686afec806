"""Files under every store: RocksDB, SQLite, locks, exports, the journal of records in work."""
