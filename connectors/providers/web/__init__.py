"""Messages to web addresses that users gave: signed webhooks, and chats."""
