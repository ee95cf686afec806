"""Errors as RFC 9457 problem documents. They tell what is wrong and what to do, and never repeat what was sent."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from msgspec import UNSET

from connectors.gateway.answers import Problem
from state.model.admission import FieldError
from state.model.errors import CarillonError

MEDIA_TYPE = "application/problem+json"


class ProblemError(CarillonError):
    """An answer other than success; raised by handlers, sent as a problem document."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Sequence[tuple[str, str]] = (),
        why: str = "",
        **members: Any,
    ) -> None:
        """`members` are extension members such as `event_id`; `why` is for metrics, beside the status."""
        super().__init__(detail)
        self.status, self.why = status, why
        self.headers, self.errors = tuple(headers), errors
        self._detail, self._members = detail, members

    def document(self) -> Problem:
        """The problem document; its `type` is about:blank, so that `title` is the status's own."""
        return Problem(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self._detail,
            errors=list(self.errors) or UNSET,
            **self._members,
        )


def retry_later(
    status: int, detail: str, retry_after_ms: int, errors: Sequence[FieldError] = (), *, why: str = ""
) -> ProblemError:
    """429 or 503 with Retry-After, which counts whole seconds: rounded up."""
    headers = (("retry-after", str(max(1, -(-retry_after_ms // 1000)))),)
    return ProblemError(status, detail, errors=errors, headers=headers, why=why, retry_after_ms=max(1, retry_after_ms))


QUERY_INVALID = "the query is not valid"
"""The detail where a call was to store nothing."""


def invalid(
    errors: Sequence[FieldError], detail: str = "the document is not valid; nothing was stored"
) -> ProblemError:
    """400 with every field error."""
    return ProblemError(400, detail, errors=errors)
