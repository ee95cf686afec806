"""Dead letters in pages, and what people decide about them. To discard one of P0 needs a second person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from connectors.gateway.approvals import Approvals
from connectors.gateway.auth import Principal
from connectors.gateway.backstage import Questions, Shown
from connectors.gateway.problems import ProblemError
from connectors.gateway.support import page_start
from connectors.paging import Listed
from state.model.audit import ApprovalRecord, PendingAct
from state.model.dead_letter import Selection
from state.model.registry import TypeProfile
from state.model.topics import EVENTS_P0


class Letters:
    """Shows them, and decides."""

    def __init__(
        self, questions: Questions, approvals: Approvals, profile: Callable[[str], TypeProfile], partitions: int
    ) -> None:
        """`partitions` of `dead_letters`."""
        self._questions, self._approvals, self._profile = questions, approvals, profile
        self._partitions = partitions
        approvals.does("discard_letter", self._discard)

    async def page(self, wanted: Selection, limit: int, cursor: str | None = None) -> Listed[Shown]:
        """The newest of them, or those behind a cursor.

        :raises ProblemError: 400, 503.
        """
        start = page_start(cursor, self._partitions)
        return await self._questions.ask(lambda backstage: backstage.letters(wanted, limit, start))

    async def by_sender(self, newest: int) -> Counter[str | None]:
        """How many of the newest are whose.

        :raises ProblemError: 503.
        """
        return await self._questions.ask(lambda backstage: backstage.senders_of_letters(newest))

    async def decide(self, letter: str, person: Principal, *, retry: bool, reason: str | None) -> Shown | PendingAct:
        """Give it back or discard it: what came of it, or what waits for a second person.

        :raises ProblemError: 403, 404, 503.
        """
        if not retry:
            found = await self.found(letter)
            if found.get("status") == "open" and self._is_p0(found):
                return await self._approvals.propose(
                    person, "discard_letter", {"letter": letter}, reason=reason, before={"status": "open"},
                    after={"status": "discarded"},
                )  # fmt: skip
        by = person.name, person.role or "", reason
        return await self._questions.ask(lambda backstage: backstage.decide_letter(letter, by, retry=retry))

    async def found(self, letter: str) -> Shown:
        """By its id.

        :raises ProblemError: 404, 503.
        """
        found = await self._questions.ask(lambda backstage: backstage.letter(letter))
        if found is None:
            raise ProblemError(404, "There is no such dead letter in the log.")
        return found

    def _is_p0(self, letter: Shown) -> bool:
        name = letter.get("type")
        return (
            letter["stage"] == "transactional"
            or letter["source"][0] == EVENTS_P0
            or (name is not None and self._profile(name).klass == "P0")
        )

    def now_ms(self) -> int:
        """The gateway's clock."""
        return self._approvals.now_ms()

    async def _discard(self, asked: ApprovalRecord) -> Mapping[str, Any]:
        letter = asked.about["letter"]
        shown = await self._questions.ask(lambda backstage: backstage.decide_letter(letter, None, retry=False))
        if shown.get("refused") and not await self._is_discarded(letter):
            return {"refused": shown["reason"]}
        return {"status": "discarded"}

    async def _is_discarded(self, letter: str) -> bool:
        """Perhaps by a gateway that died before it could say so."""
        found = await self._questions.ask(lambda backstage: backstage.letter(letter))
        return found is not None and found["status"] == "discarded"
