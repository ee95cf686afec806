"""How the users of a key group are kept in decide's checkpoint: chunks of columns, and rows that changed since.

Chunks load fast. But to write all 256 users of a chunk when one changed his settings cost 39 kB an epoch and user
(measured). So a changed user gets a row of his own (kind D in `state.decide.codec`). Only when a chunk has `SINGLE_MAX`
of them is it written again as a whole. A chunk and its single rows together hold all its users.
"""

from collections.abc import Callable, Iterable, Mapping

from state.decide import codec
from state.decide.users import UserTable
from state.disk.packing import u32

SINGLE_MAX = 16
"""Single rows per chunk: at most a sixteenth of all users load one by one."""
StoredRows = Iterable[tuple[bytes, bytes]]


class UserRows:
    """What is stored of one key group's users."""

    def __init__(self, group: int) -> None:
        self._group = group
        self._single: dict[int, set[int]] = {}
        """Chunk to its users with a row of their own."""

    def load(self, users: UserTable, chunks: StoredRows, singles: StoredRows) -> None:
        """Fill an empty table with the stored rows of kinds U and D.

        :raises StateDamagedError: rows are missing or do not decode.
        """
        stored = {int.from_bytes(key[2:], "big"): value for key, value in chunks}
        single: dict[int, dict[int, bytes]] = {}
        for key, value in singles:
            row = int.from_bytes(key[2:], "big")
            single.setdefault(row // codec.CHUNK_ROWS, {})[row] = value
        self._single = {chunk: set(rows) for chunk, rows in single.items()}
        users.reserve((max([*stored, *single], default=-1) + 1) * codec.CHUNK_ROWS)
        for chunk in sorted(stored.keys() | single.keys()):
            if chunk in stored:
                codec.decode_users(users, chunk * codec.CHUNK_ROWS, stored[chunk])
            for row, value in sorted(single.get(chunk, {}).items()):
                codec.decode_users(users, row, value)
        users.trim()

    def collect(self, users: UserTable, put: Callable[[bytes, bytes], None], delete: Callable[[bytes], None]) -> None:
        """Write the users who changed, and fold the single rows of a chunk that has too many."""
        for chunk, rows in _by_chunk(users.changed).items():
            single = self._single.setdefault(chunk, set())
            if len(single | rows) <= SINGLE_MAX:
                for row in rows:
                    put(
                        codec.checkpoint_key(b"D", self._group, u32(row)),
                        codec.encode_users(users, range(row, row + 1)),
                    )
                single |= rows
                continue
            put(codec.checkpoint_key(b"U", self._group, u32(chunk)), codec.encode_chunk(users, chunk))
            for row in single:
                delete(codec.checkpoint_key(b"D", self._group, u32(row)))
            del self._single[chunk]
        users.changed.clear()


def _by_chunk(rows: Iterable[int]) -> Mapping[int, set[int]]:
    chunks: dict[int, set[int]] = {}
    for row in sorted(rows):
        chunks.setdefault(row // codec.CHUNK_ROWS, set()).add(row)
    return chunks
