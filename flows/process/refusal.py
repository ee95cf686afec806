"""How a process that `carillon up` starts says why it does not run: a line of its log that `up` shows in place of it.

`{"event": "refused", "detail": TEXT, "passes": false}`, behind the traceback. `detail` names what is wrong and what to
do about it. `passes`: it may be over by itself, as when the process before this one still has to end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import structlog

from state.model.errors import CarillonError, LogUnavailableError, StateLockedError, StoreUnavailableError

_MARK = '"event": "refused"'
_PASSING = (LogUnavailableError, StateLockedError, StoreUnavailableError)
_logger = structlog.get_logger(__name__)


class Refusal(NamedTuple):
    """Why a process does not run."""

    detail: str
    passes: bool


class _RefusedLine(msgspec.Struct):
    detail: str
    passes: bool


def refusal_of(error: BaseException | None) -> Refusal | None:
    """What an error says to whoever operates the system; None: it is a fault of the program.

    The engine wraps what a flow raises, so the first error of ours behind it counts.
    """
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, CarillonError):
            return Refusal(str(error), isinstance(error, _PASSING))
        if isinstance(error, OSError) and error.filename is not None:
            return Refusal(f"{error.filename}: {error.strerror}; mend that, then start again", passes=False)
        error = error.__cause__ or error.__context__
    return None


def say_refused(error: BaseException) -> None:
    """Log it, if it is one."""
    refusal = refusal_of(error)
    if refusal is not None:
        _logger.error("refused", detail=refusal.detail, passes=refusal.passes)


def refused_in(lines: Iterable[str]) -> Refusal | None:
    """The last refusal among lines of a log."""
    for line in reversed([*lines]):
        if _MARK in line:
            try:
                found = msgspec.json.decode(line, type=_RefusedLine)
            except msgspec.MsgspecError:
                continue  # a full disk cuts lines off
            return Refusal(found.detail, found.passes)
    return None
