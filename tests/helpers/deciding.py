"""Records of a simulation through the decision operators, with everything they write, not only what it prints."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from operators.decide import apply
from operators.simulation import Simulation
from state.decide.group import GroupState
from state.model.keys import key_group
from state.model.ledger import Decision
from state.model.records import Emission, Outputs
from state.model.registry import Registry, load_registry
from state.model.work import Work

NEVER = 1 << 30


def placed_by_group(lines: Iterable[dict[str, Any]], registry: Registry) -> dict[int, list[tuple[int, Work]]]:
    """(place, record) for each key group that a record names; those for every group in all of them."""
    simulation = Simulation(registry)
    placed = [entry for line in json.loads(json.dumps(list(lines))) for entry in simulation.records(line)]
    groups = sorted({record.g for _, record in placed if record.g is not None})
    end = simulation.end()
    return {group: [*((p, r) for p, r in placed if r.g in (group, None)), end] for group in groups}


class Decided:
    """The key group of the user `u` and all that it wrote."""

    def __init__(self, *lines: dict[str, Any], registry: Registry | None = None, bulk_from: int = NEVER) -> None:
        self.registry = registry or load_registry()
        records = placed_by_group(lines, self.registry)[key_group("u")]
        self.state = GroupState(self.registry)
        self.state.bulk_from = bulk_from
        self.outputs: list[Outputs] = [apply(self.state, record, place) for place, record in records]

    def decisions(self, event_id: str) -> list[Decision]:
        """Every record of an event, in order."""
        return [each for out in self.outputs for each in out.decisions if each.event_id == event_id]

    def emission(self, first_event_id: str) -> Emission:
        """The emission that an event is the first of."""
        (found,) = (each for out in self.outputs for each in out.emissions if each.first_event_id == first_event_id)
        return found

    def in_columns(self) -> list[str]:
        """Users that were decided in columns, in order."""
        slices = [part for out in self.outputs for part in out.slices]
        return [self.state.users.ids[row] for part in slices for row in part.rows.tolist()]
