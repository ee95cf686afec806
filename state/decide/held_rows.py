"""How batches of held recipients are kept in decide's checkpoint: each as a whole, and who left it since.

A reader in the night leaves every batch that he is in. To write each of them again would cost what all its members
take.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from state.decide import codec
from state.decide.held import HeldBatch
from state.decide.pending import PendingTable
from state.disk.packing import u32, u64
from state.model.event import Event


class HeldRows:
    """What is stored of one key group's batches."""

    def __init__(self, group: int) -> None:
        self._group = group
        self._stored: dict[int, list[int]] = {}
        """Number to [place of the event, number of rows of kind h]."""

    def load(
        self, wholes: Iterable[tuple[bytes, bytes]], left: Iterable[tuple[bytes, bytes]], events: Mapping[int, Event]
    ) -> Iterator[HeldBatch]:
        """The stored batches, from the rows of kinds H and h.

        :raises StateDamagedError: rows do not decode, or an event is missing.
        """
        self._stored.clear()
        batches: dict[int, HeldBatch] = {}
        for key, value in wholes:
            number = int.from_bytes(key[2:], "big")
            batch = batches[number] = codec.decode_batch(value, number, events)
            self._stored[number] = [batch.wait.place, 0]
        for key, value in left:
            number = int.from_bytes(key[2:10], "big")
            batches[number].left(codec.decode_rows(value))
            self._stored[number][1] += 1
        yield from batches.values()

    def collect(
        self,
        pending: PendingTable,
        put: Callable[[bytes, bytes], None],
        delete: Callable[[bytes], None],
        use: Callable[[int, Event | None], None],
    ) -> None:
        """Write what changed; `use` is told of an event that a stored batch needs, or (None) needs no more."""
        for number in sorted(pending.changed_batches):
            batch, stored = pending.batches.get(number), self._stored.get(number)
            key = codec.checkpoint_key(b"H", self._group, u64(number))
            left = codec.checkpoint_key(b"h", self._group, u64(number))
            if batch is not None and stored is not None:
                put(left + u32(stored[1]), codec.encode_rows(batch.unstored))
                stored[1] += 1
            elif batch is not None:
                put(key, codec.encode_batch(batch))
                self._stored[number] = [batch.wait.place, 0]
                use(batch.wait.place, batch.wait.event)
            elif stored is not None:
                place, rows = self._stored.pop(number)
                delete(key)
                for each in range(rows):
                    delete(left + u32(each))
                use(place, None)
            if batch is not None:
                batch.unstored.clear()
        pending.changed_batches.clear()
