"""What `carillon canary` finds: the shares of two versions, out of the ledger and the claims of topic `owners`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from connectors.archive.confirmed import ConfirmedByGroup, confirmed_by_group
from connectors.archive.states import LedgerStates
from connectors.log.interface import Log
from connectors.log.owners import OwnerRecord, owners_now
from flows.commands.output import Output
from flows.process.cluster import ClusterPlace
from flows.process.directories import ARCHIVE
from operators.canary import Comparison, Handled, compared
from state.model.errors import ConfigurationError
from state.model.keys import KEY_GROUPS, partition_of_group
from state.model.topics import DELIVER, EVENTS_P0

Verdict = Literal["promote", "roll back", "wait"]
_MS = timedelta(milliseconds=1)
_IN_TIME_MS = timedelta(minutes=1) // _MS
"""What no provider has taken by then is not confirmed, whoever had it: so that both sides had the same time."""
_MINUTE_MS = timedelta(minutes=1) // _MS
_SAID: Mapping[Comparison, str] = {
    "alike": "no less", "worse": "LESS", "unsure": "not enough yet to tell it from chance", "few": "too few to tell",
}  # fmt: skip
_CONCLUDED: Mapping[Verdict, str] = {
    "promote": "Promote it.", "roll back": "Do NOT promote it: roll back.", "wait": "Not enough was seen: look again.",
}  # fmt: skip


class _Channel(NamedTuple):
    """One channel of a station."""

    station: str
    channel: str
    new: Handled
    old: Handled


def canary_verdict(data_dir: Path, log: Log, version: str, output: Output, *, now_ms: int, minutes: int) -> Verdict:
    """Print both shares of each channel, and what follows.

    :raises ConfigurationError: no process that sends runs this version.
    """
    states, until = LedgerStates(data_dir / ARCHIVE, log), now_ms - _IN_TIME_MS
    running = {station: owners_now(log, station) for station in ("deliver", "transactional")}
    versions = {owner.version for owners in running.values() for owner in owners.values()}
    if version not in versions:
        known = ", ".join(each or "an earlier one" for each in sorted(versions)) or "none"
        raise ConfigurationError(f"no process of deliver or transactional runs {version!r}; they run: {known}")
    found: list[Comparison] = []
    for station, owners in running.items():
        for each in _of_station(states, log, station, owners, version, until, minutes):
            found.append(compared(each.new, each.old))
            _show(each, found[-1], version, output)
    verdict: Verdict = "roll back" if "worse" in found else "wait"
    if "alike" in found and not {"worse", "unsure"} & {*found}:
        verdict = "promote"
    output.show({"version": version, "verdict": verdict}, _CONCLUDED[verdict])
    return verdict


def _of_station(
    states: LedgerStates, log: Log, station: str, owners: Mapping[int, OwnerRecord], version: str, until: int,
    minutes: int,
) -> Iterator[_Channel]:  # fmt: skip
    mine = _groups_of(log, station, owners, version)
    if not mine.any():
        return
    began = max(owner.since or owner.at for owner in owners.values())
    since = min(max(began, until - minutes * _MINUTE_MS), until)
    new = confirmed_by_group(states, since, until, _IN_TIME_MS)
    old, others = new, ~mine
    if mine.all():  # nobody to compare it with but those before it
        old, others = confirmed_by_group(states, began - (until - since), began, _IN_TIME_MS), mine
    source = "t" if station == "transactional" else "d"
    for channel in sorted({channel for by, channel in new.keys() | old.keys() if by == source}):
        place = (source, channel)
        yield _Channel(station, channel, _handled(new.get(place), mine), _handled(old.get(place), others))


def _groups_of(log: Log, station: str, owners: Mapping[int, OwnerRecord], version: str) -> npt.NDArray[np.bool_]:
    """Key groups whose lanes are with a process of this version."""
    lanes = log.partitions(EVENTS_P0) if station == "transactional" else log.partitions(DELIVER["push"]) // 2
    lane_of = [partition_of_group(group, lanes) for group in range(KEY_GROUPS)]
    places = [
        ClusterPlace(process, owner.processes, owner.workers)
        for process, owner in owners.items()
        if owner.version == version
    ]
    return np.array([any(place.holds_key(lane) for place in places) for lane in lane_of], np.bool_)


def _handled(counted: ConfirmedByGroup | None, groups: npt.NDArray[np.bool_]) -> Handled:
    if counted is None:
        return Handled(0, 0)
    return Handled(int(counted.handed_out[groups].sum()), int(counted.confirmed[groups].sum()))


def _show(each: _Channel, comparison: Comparison, version: str, output: Output) -> None:
    record = {
        "station": each.station, "channel": each.channel, "new": each.new._asdict(), "old": each.old._asdict(),
        "compared": comparison,
    }  # fmt: skip
    sides = f"{version} {_share(each.new)}, others {_share(each.old)}"
    output.show(record, f"{each.station}, {each.channel}: a provider took of {sides}: {_SAID[comparison]}")


def _share(side: Handled) -> str:
    return f"{side.confirmed} of {side.handed_out} ({side.share:.1%})"
