"""What a search of the page Events asks for: values, and times as clocks of the viewer's zone show them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime

import msgspec

from connectors.gateway.backstage import LedgerSearch
from connectors.gateway.problems import QUERY_INVALID, invalid
from state.model.admission import FieldError
from state.model.durations import DAY_MS
from state.model.ledger import TERMINAL_DECISIONS, TERMINAL_DELIVERIES
from state.model.zones import is_local_time, local_ms, zone_names

_TIMES = ("from", "to")
_VALUES = tuple(each.name for each in dataclasses.fields(LedgerSearch) if each.name not in ("user", "from_ms", "to_ms"))
"""What a search may name; who looks for a user says why."""
OUTCOMES_SHOWN = tuple(sorted({"AGGREGATING", "HELD", *TERMINAL_DECISIONS, *TERMINAL_DELIVERIES}))
"""Of decisions and deliveries; three are of both."""


def zone_of(given: Mapping[str, str]) -> str:
    """The zone of the times on the page.

    :raises ProblemError: 400: there is none of this name.
    """
    zone = given.get("zone", "UTC")
    if zone not in zone_names():
        raise invalid([FieldError("zone", "is no time zone", "write one such as Europe/Lisbon, or UTC")], QUERY_INVALID)
    return zone


def asked(given: Mapping[str, str]) -> dict[str, str]:
    """The fields of a search; empty: nothing is looked for."""
    named = {name: given[name] for name in (*_VALUES, *_TIMES) if name in given}
    return named | {"zone": given["zone"]} if named and "zone" in given else named


def search_of(given: Mapping[str, str], now_ms: int) -> LedgerSearch:
    """The search: without a beginning, what is named is looked for in the day before its end; one event at any time.

    :raises ProblemError: 400: a time is none, or the end is not behind the beginning.
    """
    zone = zone_of(given)
    first, end = (_instant(given, name, zone) for name in _TIMES)
    if first is None and "event" not in given:
        first = (now_ms if end is None else end) - DAY_MS
    if first is not None and end is not None and end <= first:
        raise invalid([FieldError("to", "is not behind the beginning", "choose a later end")], QUERY_INVALID)
    values = {name: given[name] for name in _VALUES if name in given}
    if "outcome" in values:
        values["outcome"] = _outcome(values["outcome"])
    return msgspec.convert({**values, "from_ms": first, "to_ms": end}, LedgerSearch)


def _outcome(given: str) -> str:
    name = given.strip().upper().replace(" ", "_")
    if name not in OUTCOMES_SHOWN:
        raise invalid([FieldError("outcome", "is none", f"write one of {', '.join(OUTCOMES_SHOWN)}")], QUERY_INVALID)
    return name


def _instant(given: Mapping[str, str], name: str, zone: str) -> int | None:
    if name not in given:
        return None
    if not is_local_time(given[name]):
        raise invalid(
            [FieldError(name, "is no time", "write a day and a time of day such as 2026-05-01T08:00")], QUERY_INVALID
        )
    return local_ms(datetime.fromisoformat(given[name]), zone)
