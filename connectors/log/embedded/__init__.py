"""The log as files of this machine: SQLite in WAL mode, one file a partition."""
