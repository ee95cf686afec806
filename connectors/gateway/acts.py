"""Acts of people: noted in topic `audit` before anything is shown or changed, so that none goes unnoted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from connectors.audit_chain import AuditChain
from connectors.gateway.auth import Principal
from connectors.gateway.problems import invalid
from connectors.gateway.writer import SettingWriter, on_log
from connectors.log.interface import Log, NewRecord
from state.model.admission import FieldError
from state.model.audit import Act, AuditRecord

REASON_MAX = 500
_REMEDY = "say in a few words why, for instance a ticket's number"


class Acts:
    """Notes acts."""

    def __init__(self, writer: SettingWriter, log: Log, *, clock: Callable[[], int]) -> None:
        self._writer, self._clock, self._chain = writer, clock, AuditChain(log)

    def record(
        self,
        person: Principal,
        act: Act,
        about: Mapping[str, str | None],
        *,
        reason: str | None = None,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> AuditRecord:
        """The record of an act of now."""
        named = {name: value for name, value in about.items() if value is not None}
        return AuditRecord(
            at=self._clock(), by=person.name, role=person.role or "user", act=act, about=named, reason=reason,
            before=None if before is None else dict(before), after=None if after is None else dict(after),
        )  # fmt: skip

    def now_ms(self) -> int:
        """The time, in milliseconds."""
        return self._clock()

    async def note(self, record: AuditRecord, *others: NewRecord) -> list[int]:
        """Store it durably with what it brings about, and give the offsets.

        :raises ProblemError: 503: the log did not acknowledge it, so the act must not happen.
        """
        linked = await on_log(lambda: self._chain.record(record))
        return await self._writer.append([linked, *others])


def reason_of(given: Mapping[str, str]) -> str:
    """Why somebody looks at what concerns a user.

    :raises ProblemError: 400: he does not say.
    """
    if (reason := reason_if_any(given)) is None:
        raise invalid([FieldError("reason", "is missing", _REMEDY)], "nothing is done or shown without a reason")
    return reason


def reason_if_any(given: Mapping[str, str]) -> str | None:
    """Why somebody does something, if he says so.

    :raises ProblemError: 400: it is too long.
    """
    reason = given.get("reason", "").strip()
    if len(reason) > REASON_MAX:
        raise invalid([FieldError("reason", f"has more than {REASON_MAX} characters", _REMEDY)])
    return reason or None
