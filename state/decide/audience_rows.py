"""How audiences are kept in decide's checkpoint: a small set as a whole, a large one as a whole and what changed since.

Otherwise one new follower of a star would rewrite all the star's followers of that key group: 170 kB where the star has
ten million. The changes are merged into the whole when they come to a sixteenth of it.
"""

from collections.abc import Callable, Iterable

from state.decide import codec
from state.decide.audience import Audience
from state.disk.packing import pack, u32, unpack

FOLD_SHARE = 1 / 16
StoredAudienceRows = Iterable[tuple[bytes, bytes]]


class AudienceRows:
    """What is stored of the audiences of one kind and key group."""

    def __init__(self, kind: bytes, group: int) -> None:
        self._kind, self._group = kind, group
        self._changes: dict[str, list[int]] = {}
        """Name to the sizes of its stored changes, by number."""

    def load(self, audience: Audience, wholes: StoredAudienceRows, changes: StoredAudienceRows) -> None:
        """Fill an empty audience with the stored rows of the kind and of its changes.

        :raises StateDamagedError: rows do not decode.
        """
        self._changes.clear()
        whole = [(key[2:], unpack(value, "rows")) for key, value in wholes]
        audience.restore_all([name for name, _ in whole], [rows for _, rows in whole])
        for key, value in changes:
            name = key[2:-4].decode("utf-8", "surrogatepass")
            changed = codec.decode_changes(value)
            for row, member in changed.items():
                (audience.add if member else audience.discard)(name, row)
            self._changes.setdefault(name, []).append(len(changed))
            audience.mark_stored(name)
        audience.changed.clear()

    def collect(self, audience: Audience, put: Callable[[bytes, bytes], None], delete: Callable[[bytes], None]) -> None:
        """Write the sets that changed."""
        for name in sorted(audience.changed):
            encoded = name.encode("utf-8", "surrogatepass")
            sizes = self._changes.get(name, [])
            unstored = audience.unstored(name, FOLD_SHARE, sum(sizes))
            if unstored is not None:
                put(self._change_key(encoded, len(sizes)), codec.encode_changes(unstored))
                self._changes[name] = [*sizes, len(unstored)]
            else:
                put(codec.checkpoint_key(self._kind, self._group, encoded), pack(audience.stored(name)))
                for number in range(len(self._changes.pop(name, ()))):
                    delete(self._change_key(encoded, number))
            audience.mark_stored(name)
        audience.changed.clear()

    def _change_key(self, name: bytes, number: int) -> bytes:
        return codec.checkpoint_key(self._kind.lower(), self._group, name + u32(number))
