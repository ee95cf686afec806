"""Emissions that are handed out again (header `again`), and how a lane makes sure that nothing of them goes twice.

A lane remembers for a day what it sent; an emission that comes again may be older. So an emission that is marked
`again` waits until a thread has searched the lane's partition of `attempts`, from a while before the emission was
decided. Keys of deliveries that ended are noted in the lane's file, as if they had ended today. Deliveries without an
end are resumed with their history. One search serves all emissions that come again within half a day. Deliveries of
such an emission that the lane had begun before it was killed are known from its start; it resumes them, and writes the
ends of those that ended, since nobody else does.

If `attempts` no longer reaches back so far, nothing is sent. A delivery that the lane has never taken in ends as
UNKNOWN; of the others nothing is known beyond the ledger.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from connectors.log.interface import Log
from connectors.log.read_to_ends import stored_batches
from flows.steps.lanes.in_hand import OpenRecord
from flows.steps.sending.attempts import TOPIC, read_attempt
from operators.attempts import DeliveryHistory
from state.deliver.store import SENT_FOR_MS
from state.model.delivery import ATTEMPT, Attempt, ToDeliver, delivery_key
from state.model.envelope import TopicPartition, header

_MARGIN_MS = 600_000
"""Clocks of decide's and the log's machines may differ by so much."""
_SERVES_MS = SENT_FOR_MS // 2


@dataclass(frozen=True, slots=True)
class Held:
    """A record that waits for its search."""

    record: OpenRecord
    emissions: Sequence[ToDeliver]
    counted: bool
    """It was opened, and its deliveries counted as accepted, before a restart."""
    is_new: bool
    """It is above its mark: this lane has never taken it in."""
    begun: dict[str, DeliveryHistory]
    """By key: what was under way, or ended and not committed, when the lane started; who takes one removes it."""

    @property
    def since_ms(self) -> int:
        """No attempt of it is older."""
        return min(emission.decided_at for emission in self.emissions) - _MARGIN_MS

    @property
    def channel(self) -> str:
        """The first."""
        return self.emissions[0].channel

    @property
    def size(self) -> int:
        """Deliveries it may come to."""
        return sum(len(emission.devices) for emission in self.emissions)


def delivery_keys_of(emission: ToDeliver) -> Iterator[str]:
    """Every delivery key that an emission may come to, fallbacks included."""
    for channel, devices in ((emission.channel, emission.devices), *((e.channel, e.devices) for e in emission.rest)):
        for device in devices:
            yield delivery_key(emission.emission_id, emission.user, channel, device.id)


class AttemptSearch:
    """One partition of `attempts` from a time to its present end, folded in a thread."""

    def __init__(
        self, log: Log, partition: int, since_ms: int, now_ms: int, on_ended: Callable[[list[str]], None]
    ) -> None:
        """Begin. `on_ended` gets, in the thread, keys that ended; for what it raises see `ready`."""
        self.since_ms, self.until_ms = since_ms, now_ms + _SERVES_MS
        self.histories: dict[str, DeliveryHistory] = {}
        """Of keys without an end; who takes one over removes it."""
        self._log, self._place, self._on_ended = log, (TOPIC, partition), on_ended
        self._begin = log.begin_offset(*self._place)
        self.start = max(self._begin, log.offset_at(*self._place, max(0, since_ms)))
        self._failure: Exception | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, name=f"attempts-search-{partition}", daemon=True).start()

    def ready(self) -> bool:
        """Whether everything was read.

        :raises LogError: it could not be.
        """
        if self._failure is not None:
            raise self._failure
        return self._done.is_set()

    def reaches_back(self, since_ms: int, now_ms: int) -> bool:
        """Whether nothing since then was trimmed before the search began (the log retains more than a day)."""
        if self._begin == 0 or since_ms >= now_ms - SENT_FOR_MS:
            return True
        return self._log.offset_at(*self._place, max(0, since_ms)) > self._begin

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 - the lane raises it
            self._failure = error
        self._done.set()

    def _read(self) -> None:
        for records in stored_batches(self._log, {self._place: self.start}):
            ended = []
            for record in records:
                if header(record.headers, "schema") == ATTEMPT.json:
                    ended += self._apply(read_attempt(record))
            self._on_ended(ended)

    def _apply(self, attempt: Attempt) -> list[str]:
        if attempt.state == "answer" and attempt.key not in self.histories:
            return []  # its delivery has ended: an UNKNOWN comes before its answer
        history = self.histories.setdefault(attempt.key, DeliveryHistory())
        history.apply(attempt)
        if history.outcome is None:
            return []
        del self.histories[attempt.key]
        return [attempt.key]


class Redeliveries:
    """What waits in one lane, and its searches; for one thread at a time."""

    def __init__(
        self, log: Log, now_ms: Callable[[], int], begun: set[str], on_ended: Callable[[list[str]], None]
    ) -> None:
        """Keep `begun` true: the keys among what waits that were begun before the start."""
        self._log, self._now_ms, self._begun, self._on_ended = log, now_ms, begun, on_ended
        self._held: deque[Held] = deque()
        self._searches: dict[int, AttemptSearch] = {}
        self.sizes = Counter[str]()
        """Deliveries that wait, by channel."""

    def hold(self, held: Held) -> None:
        """Let a record wait."""
        self._held.append(held)
        self.sizes[held.channel] += held.size
        self._begun.update(held.begun)

    def ready(self) -> Iterator[tuple[Held, AttemptSearch]]:
        """Those that need not wait any more, in order, with the search that covers them.

        :raises LogError: `attempts` cannot be read; nothing may be sent without it.
        """
        while self._held:
            search = self._search(self._held[0])
            if not search.ready():
                return
            held = self._held.popleft()
            self.sizes[held.channel] -= held.size
            self._begun.difference_update(held.begun)
            yield held, search

    def offsets(self, place: TopicPartition, *, counted: bool) -> set[int]:
        """What waits of a topic's partition."""
        return {held.record.offset for held in self._held if held.record.place == place and held.counted is counted}

    def find(self, held: Held, key: str) -> DeliveryHistory | None:
        """What is known of a key: from the start, or by the last search if it has no end."""
        if key in held.begun:
            return held.begun.pop(key)
        search = self._searches.get(held.record.place[1])
        return None if search is None else search.histories.pop(key, None)

    def _search(self, held: Held) -> AttemptSearch:
        """One that covers the record; a new one begins where there is none."""
        partition, now = held.record.place[1], self._now_ms()
        known = self._searches.get(partition)
        if known is not None and (not known.ready() or known.since_ms <= held.since_ms) and now < known.until_ms:
            return known
        since = min(held.since_ms for held in self._held if held.record.place[1] == partition)
        self._searches[partition] = AttemptSearch(self._log, partition, since, now, self._on_ended)
        return self._searches[partition]
