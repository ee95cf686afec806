"""What a person left by a link in a mail, beside what his preference document says; pure.

A link only ever adds to `unsubscribed`, and the record remembers what it added. So a document that was read before and
is stored after does not bring it back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from state.model.admission import FieldError
from state.model.channels import CHANNELS

OptOuts = Mapping[str, Sequence[str]]
"""Channel to categories."""


def named_channels(patch: dict[str, Any]) -> Collection[str]:
    """Channels of which a merge patch says by itself what is unsubscribed."""
    if "unsubscribed" not in patch:
        return ()
    named = patch["unsubscribed"]
    return named if isinstance(named, dict) else CHANNELS


def without(document: dict[str, Any], off: OptOuts) -> dict[str, Any]:
    """The document with these unsubscribed as well."""
    if not off:
        return document
    lists = _lists(document)
    return {
        **document,
        "unsubscribed": {**lists, **{channel: joined(lists.get(channel), names) for channel, names in off.items()}},
    }


def joined(present: Any, names: Sequence[str]) -> list[str]:
    """Those that are there, then the others."""
    there = present if isinstance(present, list | tuple) else ()
    return [*there, *(name for name in dict.fromkeys(names) if name not in there)]


def still_off(by_link: OptOuts, document: dict[str, Any]) -> dict[str, list[str]]:
    """Of what links switched off, that which the document leaves off."""
    lists = _lists(document)
    left = {
        channel: [name for name in names if name in (lists.get(channel) or ())] for channel, names in by_link.items()
    }
    return {channel: names for channel, names in left.items() if names}


def kept_warnings(document: dict[str, Any], kept: OptOuts) -> list[FieldError]:
    """One for each channel of which the document lacks what stays off."""
    lists = _lists(document)
    return [
        FieldError(
            f"unsubscribed.{channel}",
            "lacks what a link in a mail switched off, which stays off",
            "send If-Match with the ETag of the document that was read, or PATCH this member",
        )
        for channel, names in kept.items()
        if not set(names) <= set(lists.get(channel) or ())
    ]


def _lists(document: dict[str, Any]) -> dict[str, Any]:
    """What came another way than through a gateway may say anything."""
    lists = document.get("unsubscribed")
    return lists if isinstance(lists, dict) else {}
