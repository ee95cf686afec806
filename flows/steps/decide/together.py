"""Slices of one event that wait in several key groups of a worker, evaluated together before the turn of each.

Each group then decides its record in its turn, with its own note in the journal, and in the same order. What is found
changes nothing, and nothing changes a group before its turn. So whatever goes wrong here, the slices are decided one
by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from flows.steps.dead_letters import environment_failed
from flows.steps.decide.group import GroupDecider, SliceAhead
from flows.steps.decide.slice_outputs import records_together
from operators.together import evaluate_together
from state.model.errors import MalformedRecordError
from state.model.work import SliceWork, decode_work

_GROUP = b',"g":'
_TAIL = re.compile(rb'([0-9]{1,3}),("stamp":[0-9]{1,15})(?:,"src":\["[^"\\]*"(?:,-?[0-9]+){3}\])?(,"ahead":[0-9]+)?\}')
Waiting = tuple[GroupDecider, tuple[int, bytes]]
"""A group, and the offset and value of its next record of `work`."""


def evaluate_ahead(waiting: Iterable[Waiting]) -> dict[GroupDecider, SliceAhead | None]:
    """What is found of the first ones, as far as they are slices of one event and not too large together; None of those
    to be decided alone.
    """
    alike = _of_one_event(waiting)
    alone: dict[GroupDecider, SliceAhead | None] = dict.fromkeys(decider for decider, _ in alike)
    if len(alike) < 2:
        return alone
    (first, (offset, value)), *_ = alike
    with first.in_hand(offset):
        try:
            return _evaluated(decode_work(value), alike)
        except MemoryError:
            raise
        except Exception as error:
            if environment_failed(error):
                raise
            return alone  # whose fault it is shows in its turn


def _evaluated(record: object, alike: list[Waiting]) -> dict[GroupDecider, SliceAhead | None]:
    if not isinstance(record, SliceWork):
        raise MalformedRecordError("work: no slice")
    places = [offset for _, (offset, _) in alike]
    found = evaluate_together(record, [decider.state for decider, _ in alike], places)
    alike = alike[: len(found)]
    together = [
        (decider.state, each.decided) for (decider, _), each in zip(alike, found, strict=True) if each is not None
    ]
    if not together:
        return dict.fromkeys(decider for decider, _ in alike)
    encoded = iter(records_together(together, record.ahead))
    return {
        decider: None if each is None else SliceAhead(record, each, next(encoded))
        for (decider, _), each in zip(alike, found, strict=True)
    }


def _of_one_event(waiting: Iterable[Waiting]) -> list[Waiting]:
    """The first, and those behind it that say the same for their own groups."""
    found: list[Waiting] = []
    said: tuple[bytes, ...] | None = None
    for decider, (offset, value) in waiting:
        event, _, tail = value.rpartition(_GROUP)
        matched = _TAIL.fullmatch(tail)
        if matched is None or int(matched[1]) != decider.group or not decider.may_look_ahead(offset):
            break
        says = event, matched[2], matched[3] or b""
        said = said or says
        if says != said:
            break
        found.append((decider, (offset, value)))
    return found
