"""Acts that need a second person: proposed, confirmed or refused by another one within ten minutes, and done once.

A gateway keeps nothing of them. What it knows it reads from topic `audit` when it is asked, so that several agree, and
a confirmation counts by its place there. Each gateway looks every few seconds whether one was confirmed and not carried
out, since its gateway died: then it is carried out here. What an act does is the same when it is done twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

import msgspec
import structlog

from connectors.audit import recent_pending
from connectors.gateway.acts import Acts
from connectors.gateway.auth import Principal
from connectors.gateway.problems import ProblemError, retry_later
from connectors.log.interface import Log
from state.model.audit import Act, ApprovalRecord, ApprovalStep, AuditRecord, PendingAct
from state.model.errors import CarillonError
from state.model.topics import AUDIT

APPROVERS: Final = ("admin", "ops")
"""The roles of who proposes, confirms and refuses."""
_MS = timedelta(milliseconds=1)
_LIFE_MS = timedelta(minutes=10) // _MS
_LATELY_MS = timedelta(hours=1) // _MS
"""How long ago an act was proposed that is still shown, and finished where it was left."""
_LOOK_EVERY_S = 2.0
_PATIENCE_MS = 5_000
"""So long the gateway that took a confirmation is given, before another one carries it out too."""
_ACCOUNTS = "this touches P0 and needs two people who signed in with their accounts at the console; a key is no person"
_logger = structlog.get_logger(__name__)

Doer = Callable[[ApprovalRecord], Awaitable[Mapping[str, Any]]]
"""Carries out what was proposed, whose `approval` is its own name, and gives what is so now. Done again, it changes
nothing."""


class Approvals:
    """Of one gateway, for its event loop."""

    def __init__(self, acts: Acts, log: Log, *, accounts: bool) -> None:
        """`accounts`: people have accounts, so that who comes with a key is nobody in particular."""
        self._acts, self._log, self._accounts = acts, log, accounts
        self._doers: dict[Act, Doer] = {}
        self._read_to = -1
        self._any_open = False

    def now_ms(self) -> int:
        """The time, in milliseconds."""
        return self._acts.now_ms()

    def does(self, act: Act, doer: Doer) -> None:
        """Such an act is carried out so."""
        self._doers[act] = doer

    async def lately(self) -> Sequence[PendingAct]:
        """Those of the last hour, the newest first.

        :raises ProblemError: 503: they cannot be read just now.
        """
        try:
            since_ms = self._acts.now_ms() - _LATELY_MS
            return (await asyncio.to_thread(recent_pending, self._log, since_ms))[::-1]
        except CarillonError as error:
            _logger.warning("approvals_not_read", error=type(error).__name__)
            raise retry_later(503, "topic audit cannot be read just now; ask again", 1000) from error

    async def propose(
        self,
        person: Principal,
        act: Act,
        about: Mapping[str, str | None],
        *,
        reason: str | None,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
    ) -> PendingAct:
        """Ask for a second person; whoever asks for the same while that is open gets the one that there is.

        :raises ProblemError: 403: a key is no person here; 503.
        """
        subject = self._subject(person)
        plain = self._acts.record(person, act, about, reason=reason, before=before, after=after)
        for each in await self.lately():
            if (each.asked.act, each.asked.about, each.state(plain.at)) == (act, plain.about, "proposed"):
                return each
        asked = _step(plain, "proposed", until=plain.at + _LIFE_MS, subject=subject)
        return PendingAct((await self._acts.note(asked))[0], asked)

    async def decide(self, name: str, person: Principal, *, confirm: bool, reason: str | None) -> PendingAct:
        """Confirm and carry out, or refuse; who proposed it may take it back by refusing.

        :raises ProblemError: 403: it is the same person; 404; 409: it is decided, or its time is over; 503.
        """
        subject, found = self._subject(person), await self._named(name)
        if found.state(self._acts.now_ms()) != "proposed":
            raise _too_late(found)
        if confirm and subject == found.asked.subject:
            raise ProblemError(403, "you proposed this yourself; another person must confirm it")
        asked = found.asked
        plain = self._acts.record(
            person, asked.act, asked.about, reason=reason, before=asked.before, after=asked.after
        )  # fmt: skip
        step = _step(
            plain, "confirmed" if confirm else "refused", until=asked.until, subject=subject, approval=found.id
        )  # fmt: skip
        (offset,) = await self._acts.note(step)
        decided = await self._named(name)
        if decided.decided_at != offset:
            raise _too_late(decided)
        return await self._carry_out(decided) if confirm else decided

    async def run(self) -> None:
        """Settle until cancelled."""
        while True:
            try:
                await self.settle()
            except CarillonError as error:  # the log is away
                _logger.warning("approvals_not_settled", error=type(error).__name__)
            except Exception:  # without this task what was left unfinished would stay so
                _logger.exception("approvals_failed")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def settle(self) -> None:
        """Note whose time is over, and finish what another gateway confirmed and left.

        :raises ProblemError: 503.
        :raises LogError: the log cannot be read.
        """
        end = await asyncio.to_thread(self._log.end_offset, AUDIT, 0)
        if end == self._read_to and not self._any_open:
            return
        found, now_ms = await self.lately(), self._acts.now_ms()
        self._read_to = end
        self._any_open = any(each.decided is None or each.unfinished for each in found)
        for each in reversed(found):
            try:
                await self._settle_one(each, now_ms)
            except CarillonError as error:  # it is tried again, and holds up no other
                _logger.warning("approval_not_settled", approval=each.id, error=type(error).__name__)

    async def _settle_one(self, pending: PendingAct, now_ms: int) -> None:
        if pending.decided is None and now_ms >= pending.asked.until:
            await self._acts.note(_expired(pending, now_ms))
        elif pending.unfinished and pending.decided is not None and now_ms >= pending.decided.at + _PATIENCE_MS:
            await self._carry_out(pending)

    async def _carry_out(self, pending: PendingAct) -> PendingAct:
        asked = pending.asked
        if (doer := self._doers.get(asked.act)) is None:
            return pending
        after = dict(await doer(msgspec.structs.replace(asked, approval=pending.id)))
        done = AuditRecord(
            at=self._acts.now_ms(), by=asked.by, role=asked.role, act=asked.act,
            about={**asked.about, "approval": pending.id}, reason=asked.reason, before=asked.before, after=after,
        )  # fmt: skip
        await self._acts.note(done)
        return pending.carried_out(done)

    async def _named(self, name: str) -> PendingAct:
        for each in await self.lately():
            if each.id == name:
                return each
        raise ProblemError(404, "nothing of this id was proposed within the last hour")

    def _subject(self, person: Principal) -> str:
        if self._accounts and person.account is None:
            raise ProblemError(403, _ACCOUNTS)
        return subject_of(person)


def change_mark(content: Any) -> str:
    """Short, and the same for the same content: two proposals of one thing are one."""
    return sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:12]


def subject_of(person: Principal) -> str:
    """Who that is, whatever his role: keys of one name are one person's."""
    return f"key {person.name}" if person.account is None else f"account {person.account}"


def _too_late(found: PendingAct) -> ProblemError:
    if found.decided is None or found.decided.step == "expired":
        return ProblemError(409, "its ten minutes are over; propose it again")
    return ProblemError(409, f"it was {found.decided.step} by {found.decided.by} already")


def _step(
    plain: AuditRecord, step: ApprovalStep, *, until: int, subject: str = "", approval: str | None = None
) -> ApprovalRecord:
    fields = msgspec.structs.asdict(plain)
    return ApprovalRecord(**fields, step=step, until=until, subject=subject, approval=approval)


def _expired(pending: PendingAct, now_ms: int) -> ApprovalRecord:
    return msgspec.structs.replace(
        pending.asked, at=now_ms, by="gateway", role="gateway", subject="", step="expired", approval=pending.id
    )
