"""How much of what was handed out a provider took, by key group: what versions of Carillon are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from connectors.archive.scan import one_of, within
from connectors.archive.states import LedgerStates
from state.ledger import latest
from state.model.durations import HOUR_MS
from state.model.keys import KEY_GROUPS

pc: Any = pyarrow.compute  # its stubs refuse chunked arrays beside scalars
_Longs = npt.NDArray[np.int64]
_COLUMNS = [
    "kind", "key_group", "seq_offset", "seq_ordinal", "log_offset", "first_offset", "first_log_offset", "emission_id",
    "user", "channel", "device", "outcome", "time", "source", "channels",
]  # fmt: skip


class ConfirmedByGroup(NamedTuple):
    """Notifications by key group: those handed out to a channel, and of these those that it got to a provider."""

    handed_out: _Longs
    confirmed: _Longs


def confirmed_by_group(
    states: LedgerStates, since_ms: int, until_ms: int, within_ms: int
) -> Mapping[tuple[str, str], ConfirmedByGroup]:
    """What was decided in that time, by who decided (`d`: decide, `t`: transactional) and channel. What a provider took
    later than `within_ms` after the decision is not confirmed.
    """
    wanted = [one_of("kind", ["emission", "delivery"]), within("time", since_ms, until_ms + within_ms)]
    found = latest(states.scan(wanted, None, _COLUMNS, since_ms=since_ms - HOUR_MS))
    emissions = found.filter((pc.field("kind") == "emission") & (pc.field("time") < until_ms))
    if not len(emissions):
        return {}
    taken = found.filter((pc.field("kind") == "delivery") & (pc.field("outcome") == "DELIVERED"))
    ids = emissions["emission_id"].cast(pa.string()).combine_chunks()
    rows = _longs(pc.fill_null(pc.index_in(taken["emission_id"].cast(pa.string()), value_set=ids), -1))
    groups, decided, sources = _longs(emissions["key_group"]), _longs(emissions["time"]), _texts(emissions["source"])
    in_time = (rows >= 0) & (_longs(taken["time"]) <= decided[rows] + within_ms)
    through, result = _texts(taken["channel"]), {}
    for channel, named in _by_channel(emissions).items():
        confirmed = np.zeros(len(groups), np.bool_)
        confirmed[rows[in_time & (through == channel)]] = True
        for source in np.unique(sources[named]):
            mine = named & (sources == source)
            counted = (np.bincount(groups[which], minlength=KEY_GROUPS) for which in (mine, mine & confirmed))
            result[str(source), channel] = ConfirmedByGroup(*counted)
    return result


def _by_channel(emissions: pa.Table) -> dict[str, npt.NDArray[np.bool_]]:
    """Which emissions name each channel. The inbox has no provider."""
    lists = emissions["channels"].combine_chunks()
    names, of_row = _texts(pc.list_flatten(lists)), pc.list_parent_indices(lists).to_numpy()
    channels = {channel: np.zeros(len(emissions), np.bool_) for channel in sorted(set(names) - {"in_app"})}
    for channel, named in channels.items():
        named[of_row[names == channel]] = True
    return channels


def _texts(column: Any) -> npt.NDArray[np.object_]:
    return np.array(column.to_pylist(), dtype=object)


def _longs(column: Any) -> _Longs:
    numbers: _Longs = column.cast(pa.int64()).to_numpy()
    return numbers
