"""Where inboxes are kept, and how other processes read them."""

from connectors.inbox.interface import InboxAudit, InboxReader, InboxStore, RowPage, RowPosition

__all__ = ["InboxAudit", "InboxReader", "InboxStore", "RowPage", "RowPosition"]
