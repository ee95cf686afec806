"""What a checkpoint wrote, without a database."""


class StoredRows:
    """Rows as a database holds them."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.written = 0

    def put(self, key: bytes, value: bytes) -> None:
        self.rows[key] = value
        self.written += len(value)

    def delete(self, key: bytes) -> None:
        del self.rows[key]

    def of(self, kind: bytes) -> list[tuple[bytes, bytes]]:
        """The rows of a kind, in order."""
        return sorted((key, value) for key, value in self.rows.items() if key[:1] == kind)
