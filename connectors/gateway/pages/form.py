"""What a person sent by the page's form, as a merge patch (RFC 7396) of what differs from the document he saw; pure.

The form names what it showed, since a box that is not ticked is not sent: a type or a channel that the page did not
show is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from connectors.gateway.pages.choices import CAPS, chosen, or_default
from connectors.gateway.problems import ProblemError
from state.model.preference import (
    DEFAULT_QUIET_END,
    DEFAULT_QUIET_START,
    Preference,
    compile_preference,
    mapping,
    muted_names,
)
from state.model.registry import TypeProfile

FIELDS_MAX = 10_000
_DIGITS_MAX = 16


class SentForm:
    """The fields of a body."""

    def __init__(self, body: bytes) -> None:
        """:raises ProblemError: 400: it has more fields than a page shows."""
        try:
            text = body.decode("utf-8", "replace")
            self._fields = parse_qs(text, keep_blank_values=True, max_num_fields=FIELDS_MAX)
        except ValueError as error:
            raise ProblemError(400, "the form has too many fields") from error

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return self._fields.get(name, [])

    def one(self, name: str, default: str = "") -> str:
        """The first value of a field."""
        return next(iter(self.all(name)), default)

    def ticked(self, name: str) -> bool:
        """Whether a box is ticked."""
        return bool(self.all(name))

    def shown(self, name: str) -> dict[str, list[str]]:
        """What the page showed of this kind (types, categories), with its channels."""
        pairs = (value.partition(" ") for value in self.all(name))
        return {named: channels.split(",") for channels, _, named in pairs}


class Wish(NamedTuple):
    """What the person wants."""

    patch: dict[str, Any]
    wayless: tuple[str, ...]
    """Types that he switched on without any way to come by."""


def wish(form: SentForm, document: Mapping[str, Any], profiles: Sequence[TypeProfile]) -> Wish:
    """What differs from the document."""
    preference = compile_preference(document)
    shown = form.shown("type")
    free = [profile for profile in profiles if profile.name in shown and not profile.mandatory]
    types = {profile.name: _type(form, preference, profile, shown[profile.name]) for profile in free}
    patch = {
        "types": {name: setting for name, setting in types.items() if setting},
        "unsubscribed": dict(_unsubscribed(form, mapping(document.get("unsubscribed")))),
        "quiet_hours": _quiet(form, mapping(document.get("quiet_hours"))),
        "frequency_cap": dict(_caps(form, mapping(document.get("frequency_cap")))),
        "muted": dict(_muted(form, document)),
    }
    if form.ticked("master") != preference.master:
        patch["master"] = form.ticked("master")
    wayless = tuple(name for name, setting in types.items() if setting.get("channels") == [])
    return Wish({name: part for name, part in patch.items() if part not in ({}, None)}, wayless)


def _type(form: SentForm, preference: Preference, profile: TypeProfile, shown: Sequence[str]) -> dict[str, Any]:
    """What is off keeps its channels, so that it comes back as it was."""
    now, on = chosen(preference, profile), form.ticked(f"on:{profile.name}")
    ticked = [channel for channel in form.all(f"by:{profile.name}") if channel in shown]
    setting: dict[str, Any] = {} if on == now.on else {"enabled": on}
    had = [channel for channel in shown if channel in now.channels]
    if set(ticked) != set(had) and (on or ticked):
        setting["channels"] = _channels(now.channels, profile.channels, ticked, shown) if ticked else []
    elif "enabled" in setting and on and not ticked:
        setting["channels"] = []
    return setting


def _channels(
    had: Sequence[str], offered: Sequence[str], ticked: Sequence[str], shown: Sequence[str]
) -> list[str] | None:
    """In the person's order if he has one of his own, else in the type's; None: all that the type offers."""
    kept = [channel for channel in had if channel in ticked or channel not in shown]
    kept += [channel for channel in offered if channel in ticked and channel not in kept]
    if list(had) == [channel for channel in offered if channel in had]:
        kept = [channel for channel in offered if channel in kept]
    return None if kept == list(offered) else kept


def _unsubscribed(form: SentForm, stored: Mapping[str, Any]) -> Iterator[tuple[str, list[str] | None]]:
    """Whole lists of the channels in which something changed: a patch that names a channel speaks for all of it."""
    shown = form.shown("category")
    for channel in dict.fromkeys(channel for channels in shown.values() for channel in channels):
        listed = stored.get(channel)
        there = listed if isinstance(listed, list) else []
        names = [name for name, channels in shown.items() if channel in channels]
        opened = [name for name in names if channel in form.all(f"may:{name}")]
        left = [name for name in there if name not in opened]
        left += [name for name in names if name not in opened and name not in there]
        if left != there:
            yield channel, left or None


def _quiet(form: SentForm, stored: Mapping[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = {}
    if form.ticked("quiet") != (stored.get("enabled") is True):
        patch["enabled"] = form.ticked("quiet")
    for name, default in (("start", DEFAULT_QUIET_START), ("end", DEFAULT_QUIET_END)):
        if form.one(name, default) != or_default(stored.get(name), default):
            patch[name] = form.one(name)
    if form.one("zone") != (stored.get("timezone") or ""):
        patch["timezone"] = form.one("zone") or None
    return patch


def _caps(form: SentForm, stored: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in CAPS:
        text = form.one(name).strip()
        value = int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else text or None
        if value != stored.get(name):
            yield name, value


def _muted(form: SentForm, document: Mapping[str, Any]) -> Iterator[tuple[str, list[str] | None]]:
    stored = mapping(document.get("muted"))
    for kind in ("actors", "objects"):
        gone = muted_names(document, kind) & set(form.all(f"unmute:{kind}"))
        if gone:
            yield kind, [name for name in stored[kind] if name not in gone] or None
