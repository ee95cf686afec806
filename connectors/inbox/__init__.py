"""Where inboxes are kept, and how other processes read them."""

from connectors.inbox.interface import InboxAudit, InboxPage, InboxReader, InboxStore, RowPosition

__all__ = ["InboxAudit", "InboxPage", "InboxReader", "InboxStore", "RowPosition"]
