"""Who appended a record, and which records are void: one owner per place, by the order within a partition.

Every record that a `KafkaLog` with a claim appends to a topic that is not compacted bears a last header `owner`:

    decide/0:123        flow / number of the process : epoch (the offset of its claim in `owners`)

A new owner appends a marker to each partition of these topics: no key, first header `schema` = `fence/1+json`, value
`{"processes": n}` (of the flow, at this claim), last header `owner`, its own. A record, marker or not, is void if an
earlier marker in the same partition is not void itself, is of the same flow and of a higher epoch, and

- of the same process, or
- of process 0, and the record's process is none of its `processes`: that place has ended.

An append that was under way when its owner was stopped arrives behind the marker of the successor, and is void; or
before it, and then the successor finds it. All readers judge alike, for ever, and from any offset: the topic `owners`
says which markers are before it, see `connectors.log.kafka.markers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from connectors.log.interface import Claim
from state.model.errors import UNDECODABLE

OWNER_HEADER = "owner"
MARKER_SCHEMA = b"fence/1+json"
_SCHEMA = ("schema", MARKER_SCHEMA)

Validity = Literal["valid", "void", "foreign"]
"""Foreign: the header has another form than ours; it is no matter of fencing."""
RawHeaders = Sequence[tuple[str, Any]]
"""As the client gives them; a value may be None."""


class OwnerHeader(NamedTuple):
    """What a header `owner` says."""

    flow: str
    process: int
    epoch: int


class _Marked(msgspec.Struct, frozen=True):
    """A marker's value."""

    processes: int


def owner_header(claim: Claim) -> tuple[str, bytes]:
    """The last header of what is appended under a claim."""
    return OWNER_HEADER, f"{claim.owner}:{claim.epoch}".encode()


def parse_owner(value: bytes | None) -> OwnerHeader | None:
    """What the header says; None if it has another form, and so is not ours."""
    place, _, epoch = (value or b"").decode("utf-8", "replace").rpartition(":")
    flow, _, process = place.rpartition("/")
    if not flow or not _is_number(process) or not _is_number(epoch):
        return None
    return OwnerHeader(flow, int(process), int(epoch))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def marker_value(claim: Claim) -> bytes:
    """The value of a claim's markers."""
    return msgspec.json.encode(_Marked(claim.processes))


def read_marker(headers: RawHeaders, value: bytes | None) -> Claim | None:
    """The claim that a record marks; None if it is no marker."""
    if len(headers) < 2 or tuple(headers[0]) != _SCHEMA or headers[-1][0] != OWNER_HEADER:
        return None
    owned = parse_owner(headers[-1][1])
    try:
        processes = msgspec.json.decode(value or b"", type=_Marked).processes
    except UNDECODABLE:
        return None
    return None if owned is None else Claim(owned.flow, owned.process, processes, owned.epoch)


def ends(later: Claim, owned: OwnerHeader) -> bool:
    """Whether what this owner appends behind a marker of `later` is void."""
    if owned.flow != later.flow or owned.epoch >= later.epoch:
        return False
    return owned.process == later.process or (later.process == 0 and owned.process >= later.processes)


class FenceState:
    """What the markers before a place in a partition let through."""

    def __init__(self, markers: Iterable[Claim] = ()) -> None:
        """`markers` in the order of their offsets."""
        self._claims: list[Claim] = []
        self._known: dict[bytes, Validity] = {}
        for claim in markers:
            self.meet(claim)

    def meet(self, claim: Claim) -> None:
        """Go past a marker; one that is void itself changes nothing."""
        if any(ends(before, OwnerHeader(claim.flow, claim.process, claim.epoch)) for before in self._claims):
            return
        self._claims = [before for before in self._claims if not covers(claim, before)]
        self._claims.append(claim)
        self._known.clear()

    def judge(self, owner: bytes) -> Validity:
        """Of a record that is no marker, by its last header `owner`."""
        validity = self._known.get(owner)
        if validity is None:
            validity = self._known[owner] = self._judged(parse_owner(owner))
        return validity

    def _judged(self, owned: OwnerHeader | None) -> Validity:
        if owned is None:
            return "foreign"
        return "void" if any(ends(claim, owned) for claim in self._claims) else "valid"


def covers(later: Claim, earlier: Claim) -> bool:
    """Whether a marker voids all that another one voids, both being before the record."""
    same = (later.flow, later.process) == (earlier.flow, earlier.process) and later.epoch >= earlier.epoch
    return same and (later.process != 0 or later.processes <= earlier.processes)
