"""The sender door (RULES 1): a sender whose records cannot be processed is let in no more, until ops opens the door.

Every gateway follows `dead_letters`. Three letters within a minute, by their own time, that say of different records
of one sender that they are malformed, raised an error or killed a process, close that sender's door: the gateway
appends the switch `door` to `control`, and every gateway obeys it there, also after a restart. Several gateways may
append it; it is one key with one content. What was accepted before goes on.

Letters from before the door was last set do not count: ops lifted it knowing them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import timedelta

import structlog

from connectors.control import TOPIC, ControlWatcher, kill_record
from connectors.gateway.problems import ProblemError
from connectors.log.interface import Log, Record
from connectors.metrics import DOORS_CLOSED, GATEWAY_DOOR_REFUSED
from state.model.dead_letter import LETTER_SCHEMA, decode_letter
from state.model.errors import LogUnavailableError
from state.model.settings import DOOR, Kill

LETTERS_MAX = 3
WINDOW = timedelta(minutes=1)
_POISON = frozenset(("malformed", "raised", "killed"))
_WINDOW_MS = WINDOW // timedelta(milliseconds=1)
_KEPT_MAX = 1_000
_OBEY_DEADLINE = timedelta(seconds=2)
REASON = f"{LETTERS_MAX} events within a minute could not be processed"
_logger = structlog.get_logger(__name__)


class RecentLetters:
    """The letters of each sender as far as they can still count; for one thread."""

    def __init__(self, senders: Collection[str]) -> None:
        """Only these are counted, so that memory is bounded: nobody else can post."""
        self._senders = frozenset(senders)
        self._letters: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def add(self, sender: str, letter_id: str, at: int) -> None:
        """Count a letter; one that was written twice around a crash is one."""
        if sender not in self._senders:
            return
        letters = self._letters[sender]
        letters[letter_id] = at
        latest = max(letters.values())
        for known, when in list(letters.items()):
            # Letters come from several partitions, so not in the order of their times.
            if when < latest - 2 * _WINDOW_MS or len(letters) > _KEPT_MAX:
                del letters[known]

    def too_many(self, sender: str, after: int) -> bool:
        """Whether enough of those later than `after` lie within one window."""
        times = sorted(at for at in self._letters[sender].values() if at > after)
        last = LETTERS_MAX - 1
        return any(later - earlier < _WINDOW_MS for earlier, later in zip(times, times[last:], strict=False))


class Door:
    """Who may not post; `check` is for any thread, `on_record` for the follower's."""

    def __init__(self, log: Log, watcher: ControlWatcher, senders: Collection[str], *, kind: str) -> None:
        """Obey what `watcher` knows; it runs already, and stays the caller's."""
        self._log, self._watcher = log, watcher
        self._letters = RecentLetters(senders)
        self._refused = GATEWAY_DOOR_REFUSED.labels(kind)

    def check(self, sender: str) -> None:
        """:raises ProblemError: 403: the door is closed; says why, and who opens it."""
        change = self._watcher.door(sender)
        if change is None or not change.closed:
            return
        self._refused.inc()
        raise ProblemError(
            403,
            "this sender is closed, nothing was accepted; mend what it sends, then ask ops to open it again "
            f"(carillon kill --door {sender} --lift)",
            why="door_closed",
            reason=change.reason or "closed by ops",
            closed_at=change.at,
        )

    def why_closed(self, sender: str) -> str | None:
        """The reason; None: it is open."""
        change = self._watcher.door(sender)
        return None if change is None or not change.closed else change.reason or "by ops"

    def on_record(self, record: Record) -> None:
        """Take a record of `dead_letters`, and close a door if it is the one too many.

        :raises MalformedRecordError: it does not decode.
        :raises LogError: the switch could not be written; the same letters, read again, try again.
        """
        if dict(record.headers).get("schema") != LETTER_SCHEMA:
            return
        letter = decode_letter(record.value)
        if letter.sender_id is None or letter.kind not in _POISON:
            return
        self._letters.add(letter.sender_id, letter.id, letter.at)
        if self._is_to_close(letter.sender_id):
            self._close(letter.sender_id)

    def _is_to_close(self, sender: str) -> bool:
        change = self._watcher.door(sender)
        if change is not None and change.closed:
            return False
        return self._letters.too_many(sender, -1 if change is None else change.at)

    def _close(self, sender: str) -> None:
        """Look first at what ops said meanwhile: this process may have been stopped for a while."""
        self._catch_up(self._log.end_offset(TOPIC, 0))
        if not self._is_to_close(sender):
            return
        (offset,) = self._log.append([kill_record(Kill(DOOR, sender, on=True, reason=REASON, by="the gateway"))])
        self._catch_up(offset + 1)
        DOORS_CLOSED.inc()
        _logger.error("sender_closed", sender=sender, reason=REASON, opens=f"carillon kill --door {sender} --lift")

    def _catch_up(self, end: int) -> None:
        if not self._watcher.catch_up(end, _OBEY_DEADLINE):
            raise LogUnavailableError(f"{TOPIC} was not read to {end} in time; it is tried again")
