"""What users and their addresses became lately, out of band: asked before a send that may come late.

Decide's word on an emission is of the moment of the emission. What the topics say since is followed by every process
that sends, in a thread of its own, and kept in memory: documents of preferences, addresses, retractions. A process
reads back for `LOOK_BACK` when it starts, and keeps the newest `KEPT_MAX` of each kind. So it knows all that changed
after `complete_since`. What an older emission needs is read again (`connectors/recall.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Self, TypeVar

from connectors.log.following import LogFollower
from connectors.log.interface import Log
from connectors.recall import Question, Recall
from connectors.said import TOPICS, Action, Retraction, Said
from state.model.addresses import Served
from state.model.settings import EndpointRecord

LOOK_BACK = timedelta(hours=1)
KEPT_MAX = 50_000
T = TypeVar("T")


class Changes:
    """See the module. Answers from memory, for any thread."""

    def __init__(self, log: Log, *, now_ms: int, served: Served | None = None, kept_max: int = KEPT_MAX) -> None:
        """`served`: what providers reach, and so the form in which addresses are kept and asked for."""
        since_ms = now_ms - LOOK_BACK // timedelta(milliseconds=1)
        self._said = Said(served, since_ms, kept_max=kept_max)
        places = [(topic, partition) for topic in TOPICS for partition in range(log.partitions(topic))]
        self._follower = LogFollower(log, places, self._said.take, name="changes", since_ms=since_ms)
        self._recall = Recall(log, places, served, read_to_ms=lambda: self._said.newest_ms)

    def start(self) -> Self:
        """Read back, and follow from then on.

        :raises LogError: the log cannot be read.
        """
        self._follower.start()
        self._recall.start()
        return self

    def close(self) -> None:
        """End the threads."""
        self._follower.close()
        self._recall.close()

    def knows(self, question: Question) -> bool:
        """Whether nothing is missing for an answer. If something is, it is read, and known a little later."""
        complete_since = self._said.complete_since
        return question.since_ms >= complete_since or self._recall.has(question, complete_since)

    @property
    def version(self) -> tuple[int, int]:
        """Another one whenever an answer may be another."""
        return self._said.version, self._recall.passes

    def is_silent(self, user: str, channel: str, endpoint_id: str, address: str) -> bool:
        """Whether nothing was said lately of the user's settings, of this endpoint, nor of the address by anybody."""
        return self._said.is_silent(user, channel, endpoint_id, address) and not any(
            not said.is_silent(user, channel, endpoint_id, address) for said in self._recalled()
        )

    def document(self, user: str) -> dict[str, Any] | None:
        """The preference document that the user stored lately; None: no change."""
        return self._newest(Said.document, user)

    def endpoint(self, user: str, channel: str, endpoint_id: str) -> EndpointRecord | None:
        """The endpoint as it was written lately; None: no change."""
        return self._newest(Said.endpoint, user, channel, endpoint_id)

    def owner(self, channel: str, address: str) -> str | None:
        """Who registered the address lately; None: nobody."""
        return self._newest(Said.owner, channel, address)

    def retractions(self, action: Action) -> Sequence[Retraction]:
        """Which of them were taken back lately; one may come more than once."""
        found, recalled = self._said.retractions(action), self._recalled()
        return [*found, *(each for said in recalled for each in said.retractions(action))] if recalled else found

    def _newest(self, ask: Callable[..., T | None], *what: str) -> T | None:
        if (found := ask(self._said, *what)) is not None or not self._recall.passes:
            return found
        return next((answer for said in self._recalled() if (answer := ask(said, *what)) is not None), None)

    def _recalled(self) -> Sequence[Said]:
        return self._recall.answers(self._said.complete_since) if self._recall.passes else ()
