"""Who receives an event within one key group (RULES 2)."""

import numpy as np
import numpy.typing as npt

from state.decide.group import GroupState
from state.model.event import Event
from state.model.keys import HASH_END


def audience_rows(state: GroupState, event: Event) -> npt.NDArray[np.int32]:
    """Rows of the followers, members or known users as of now; each once."""
    if event.fan_out_type == "FOLLOWERS":
        return state.followers.rows(event.actor) if event.actor is not None else np.empty(0, np.int32)
    if event.fan_out_type == "SEGMENT":
        return state.segments.rows(event.segment) if event.segment is not None else np.empty(0, np.int32)
    if event.fan_out_type == "BROADCAST":
        return np.flatnonzero(state.users.known[: len(state.users)]).astype(np.int32)
    return np.empty(0, np.int32)


def in_hash_range(state: GroupState, rows: npt.NDArray[np.int32], start: int, end: int) -> npt.NDArray[np.int32]:
    """Those rows whose user's hash lies in [start, end): the stable order of slices."""
    if start == 0 and end == HASH_END:
        return rows
    hashes = state.users.hash[rows]
    above = hashes >= np.uint64(start)
    return rows[above if end == HASH_END else above & (hashes < np.uint64(end))]
