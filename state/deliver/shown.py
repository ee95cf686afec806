"""What a push shows on a device, as a lane remembers it for as long as its notification lives (RULES 3.F).

A row's value is the MessagePack array `[emission_id, first_event_id, device, place, until, items, said, stale]`;
`items` are those that nobody took back, as `[event_id, actor]`, or nil where they are not all known. `said` is the
emission, as `emission/1+json` has it but for its addresses, where it is of several items; else, and in files of earlier
releases, nil or nothing. Where `stale` is true (nothing in earlier files), its screen still says more than `items`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

import msgspec

from state.deliver.near import near
from state.model.delivery import ToDeliver


class ShownAt(NamedTuple):
    """Where something is shown: one place shows one notification, the latest."""

    about: bytes
    """`about_digest` of what it is about."""
    screen: str
    """The device, and for what is of no object the emission: such notifications stand side by side."""


class ShownPush(msgspec.Struct, frozen=True, array_like=True):
    """A notification that a provider took for a device."""

    emission_id: str
    first_event_id: str
    device: str
    place: int
    """In `work`: where it was decided."""
    until: int
    """The end of its life, in ms UTC."""
    items: tuple[tuple[str, str | None], ...] | None
    """(event_id, actor) of each."""
    said: ToDeliver | None = None
    """What the text of some of them is made of."""
    stale: bool = False
    """More than `items` is on the screen yet."""


encode_shown = msgspec.msgpack.Encoder().encode
decode_shown = msgspec.msgpack.Decoder(ShownPush).decode


def about_digest(user: str, type_name: str, object_id: str | None) -> bytes:
    """20 bytes in place of what a notification is about; those of the same for many users begin alike."""
    what = type_name if object_id is None else f"{type_name}\0{object_id}"
    return near(what) + sha256(f"{user}\0{what}".encode("utf-8", "surrogatepass")).digest()[:16]
