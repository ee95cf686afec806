"""Where flows keep what others read, under the data directory."""

from pathlib import Path

INBOX = Path("state") / "inbox"
"""The inbox stores: one directory per partition."""
ARCHIVE = Path("archive")
"""The archive: one directory per topic, below it one per partition."""
LEDGER = ARCHIVE / "ledger"
"""The ledger's archive."""
