"""Whether an event may be accepted (RULES 1): all-or-nothing, every field error at once, then what the sender may do.

400 is for documents that are wrong whoever sends them, 403 for what this sender may not do: an unregistered type, a
type it does not own, another's sender_id, a more urgent class than the type's, another class than P0 for a pinned type.
A document with both gets 400 and all its field errors: 403 is given only to what could otherwise be accepted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import to_builtins

from operators import validate
from operators.campaigns import outlook
from operators.identity import repeat_check
from operators.payload_schema import schema_errors
from operators.plain_event import OrdinaryTypes, PlainEvent, owns, plain_event, plain_events
from operators.render import cut_values, missing_values, told_numbers
from operators.type_changes import sender_errors, type_errors
from operators.validate import document_errors
from state.model.addresses import Served, address_complaint, canonical, unserved
from state.model.admission import Admitted, FieldError, Outlook, RefusedRequest, Sender, child_path
from state.model.documents import (
    FAN_OUT_NEEDS,
    Complaint,
    Document,
    KillSwitch,
    NewDevice,
    NewEndpoint,
    NewEvent,
    payload,
    unicode_text,
)
from state.model.durations import DAY_MS
from state.model.event import SCHEMA_VERSION, Event, RawEvent, RolloutPlan, event_class, resolve
from state.model.registry import Registry, RegistryInForce, TypeProfile
from state.model.subscriptions import address_text

KEEP_MAX_MS = 366 * DAY_MS
"""The default of how far ahead `deliver_at` may lie: a day of next year still fits in, a slip of the unit does not."""
WARNINGS_MAX = 100
"""Warnings that one answer names."""

_FIELDS = frozenset(NewEvent.__struct_fields__)


@dataclass(frozen=True, slots=True)
class Rules:
    """`state.model.admission.AdmissionRules` under the types in force, which alone may change."""

    types: RegistryInForce
    """What each type may do."""
    keep_max_ms: int = KEEP_MAX_MS
    """How far ahead `deliver_at` may lie."""
    retention_ms: int = 7 * DAY_MS
    """How long the log keeps an event at least."""
    served: Served | None = None
    """What the configured providers serve; None: everything."""

    def read_plain(self, body: bytes) -> Sequence[Any] | None:
        """See `AdmissionRules.read_plain`."""
        return plain_events(body)

    def judge(
        self, body: Any, sender: Sender, *, now_ms: int, new_event_id: Callable[[], str]
    ) -> Admitted | RefusedRequest:
        """See `AdmissionRules.judge`."""
        return self.judge_all([body], sender, now_ms=now_ms, new_event_id=new_event_id)[0]

    def judge_all(
        self, bodies: Sequence[Any], sender: Sender, *, now_ms: int, new_event_id: Callable[[], str]
    ) -> list[Admitted | RefusedRequest]:
        """See `AdmissionRules.judge_all`."""
        registry = self.types.current
        ordinary, judged = OrdinaryTypes(registry, sender), list[Admitted | RefusedRequest]()
        for body in bodies:
            plain = body if isinstance(body, PlainEvent) else plain_event(body)
            profile = None if plain is None else ordinary.profile(plain)
            if plain is None or profile is None:
                document = to_builtins(body) if isinstance(body, PlainEvent) else body
                judged.append(self.judge_closely(document, sender, now_ms=now_ms, new_event_id=new_event_id))
                continue
            given = plain.event_id is not None
            event = resolve(plain.raw(sender.sender_id, plain.event_id or new_event_id()), registry, ingested_at=now_ms)
            judged.append(Admitted(event, repeat_check(event, given=given, repeat_window_ms=profile.repeat_window_ms)))
        return judged

    def judge_closely(
        self, body: Any, sender: Sender, *, now_ms: int, new_event_id: Callable[[], str]
    ) -> Admitted | RefusedRequest:
        """As `judge`, with every look."""
        registry = self.types.current
        errors = field_errors(body, registry, self.served)
        errors += time_errors(body, registry, now_ms=now_ms, keep_max_ms=self.keep_max_ms)
        if errors:
            return RefusedRequest(400, tuple(errors))
        raw = _raw_event(body)
        profile = registry.profile(raw.type)
        denied = ownership_errors(raw, profile, sender) or class_errors(raw, profile)
        if denied:
            return RefusedRequest(403, tuple(denied))
        given = bool(raw.event_id)
        if not given:
            raw.event_id = new_event_id()
        raw.sender_id = sender.sender_id
        if raw.to is not None:
            raw.to = {channel: self.canonical_address(channel, None, address) for channel, address in raw.to.items()}
        event = resolve(raw, registry, ingested_at=now_ms)
        return Admitted(event, repeat_check(event, given=given, repeat_window_ms=profile.repeat_window_ms))

    def preference_warnings(self, document: Any) -> Sequence[FieldError]:
        """See `AdmissionRules.preference_warnings`."""
        return preference_warnings(document, self.types.current)

    def document_errors(self, document: Any, kind: type[Document]) -> Sequence[FieldError]:
        """See `AdmissionRules.document_errors`."""
        errors = document_errors(document, kind)
        return errors or _RELATIONS.get(kind, _no_relation)(document, self.served)

    def canonical_address(self, channel: str, platform: str | None, address: str | None) -> str | None:
        """See `AdmissionRules.canonical_address`."""
        return canonical(self.served, channel, platform, address)

    def outlook(self, event: Event, document: Any, addresses: Collection[str]) -> Outlook:
        """See `operators.campaigns.outlook`."""
        return outlook(event, self.profile(event.type), document, addresses)

    def text_errors(self, path: str, value: Any) -> Sequence[FieldError]:
        """See `validate.text_errors`."""
        return validate.text_errors(path, value)

    def type_errors(self, name: str, table: Mapping[str, Any], taken_back: str) -> Sequence[FieldError]:
        """See `operators.type_changes.type_errors`."""
        return type_errors(name, table, self.types.current, self.retention_ms, taken_back)

    def sender_errors(
        self, name: str, sender: Sender, before: TypeProfile, after: TypeProfile | None
    ) -> Sequence[FieldError]:
        """See `operators.type_changes.sender_errors`."""
        return sender_errors(name, sender, before, after)

    def type_names(self) -> list[str]:
        """The types of the registry."""
        return self.types.current.names()

    def profile(self, type_name: str) -> TypeProfile:
        """See `Registry.profile`."""
        return self.types.current.profile(type_name)


def _kill_errors(switch: dict[str, Any], _served: Served | None) -> list[FieldError]:
    if switch["scope"] != "all" and switch.get("value") is None:
        return [FieldError("value", "is missing", "name the sender, type, channel or campaign")]
    return []


def _no_relation(_document: Any, _served: Served | None) -> list[FieldError]:
    return []


def _endpoint_errors(endpoint: dict[str, Any], served: Served | None) -> list[FieldError]:
    """What no provider serves or can send to; an address that is none any more may be whatever it was."""
    channel, platform = endpoint["channel"], endpoint.get("platform")
    lacking = unserved(served, channel, platform)
    if lacking is not None:
        return [FieldError(lacking[0], *lacking[1])]
    if endpoint.get("state") == "invalid":
        return []
    return _address_errors("address", address_complaint(served, channel, platform, address_text(endpoint["address"])))


def _device_errors(device: dict[str, Any], served: Served | None) -> list[FieldError]:
    lacking = unserved(served, "push", device["platform"])
    if lacking is not None:
        return [FieldError("platform", *lacking[1])]
    found = address_complaint(served, "push", device["platform"], address_text(device["token"]))
    return _address_errors("token", found)


def _address_errors(path: str, found: tuple[str, Complaint] | None) -> list[FieldError]:
    """Of a subscription, the member that is wrong is named."""
    return [] if found is None else [FieldError(f"{path}.{found[0]}".rstrip("."), *found[1])]


_RELATIONS: dict[type[Document], Callable[[Any, Served | None], list[FieldError]]] = {
    KillSwitch: _kill_errors,
    NewEndpoint: _endpoint_errors,
    NewDevice: _device_errors,
}
"""What the members of a document ask of each other."""


def preference_warnings(document: dict[str, Any], registry: Registry) -> list[FieldError]:
    """Types and categories that the registry does not know."""
    warnings = [
        FieldError(child_path("types", name), "is no registered type", "correct its spelling, or register it")
        for name in document.get("types") or ()
        if not registry.profile(name).registered
    ]
    for channel, categories in (document.get("unsubscribed") or {}).items():
        warnings += [
            FieldError(
                f"unsubscribed.{channel}[{place}]", "is no category of a registered type", "correct its spelling"
            )
            for place, category in enumerate(categories or ())
            if category not in registry.categories()
        ]
    return warnings[:WARNINGS_MAX]


def field_errors(body: Any, registry: Registry, served: Served | None = None) -> list[FieldError]:
    """Everything that makes it 400: the fields, each for itself, then what fan-out and `to` ask of each other."""
    document = {name: body[name] for name in _FIELDS & body.keys()} if _is_newer(body) else body
    errors = [] if _is_plain(document) else document_errors(document, NewEvent)
    if not isinstance(body, dict):
        return errors
    wrong = {re.split(r"[.\[]", error.path, maxsplit=1)[0] for error in errors}
    profile = None if "type" in wrong else registry.profile(body["type"])
    if "fan_out_type" not in wrong:
        fan_out = body.get("fan_out_type") or "DIRECT"
        errors += fan_out_errors(fan_out, body, profile)
        if profile is not None and not wrong & {"to", "priority"}:
            errors += to_errors(body, fan_out, profile, served)
    if profile is not None and not wrong & {"priority", "payload", "retracts"}:
        errors += text_errors(body, profile)
    return errors


def text_errors(body: dict[str, Any], profile: TypeProfile) -> list[FieldError]:
    """What the type's text needs of the payload, then what its schema asks of it; a retraction says nothing."""
    if body.get("retracts") or not profile.registered:
        return []
    errors = _value_errors(body, profile)
    named = {error.path for error in errors}
    return errors + [error for error in schema_errors(profile.schema, body.get("payload")) if error.path not in named]


def _value_errors(body: dict[str, Any], profile: TypeProfile) -> list[FieldError]:
    klass, payload = event_class(body.get("priority"), profile), body.get("payload")
    missing = missing_values(profile.name, payload, klass)
    if missing:
        return [FieldError(child_path("payload", name), *_MISSING) for name in missing]
    private = told_numbers(profile.name, payload)
    cut = cut_values(profile.name, payload) if klass == "P0" else []
    found = [(name, _PRIVATE) for name in private] + [(name, _CUT) for name in cut if name not in private]
    return [FieldError(child_path("payload", name), *complaint) for name, complaint in found]


_MISSING = ("is missing, and this type's text needs it", "send a text or a number that one can see")
_PRIVATE = ("has a card or social security number, and lock screens show it", "send its last four digits alone")
_CUT = ("is too long to be shown in whole", "shorten it")


def time_errors(body: Any, registry: Registry, *, now_ms: int, keep_max_ms: int) -> list[FieldError]:
    """A `deliver_at` that was meant otherwise: longer ago than anyone waits for this type, or too far ahead.

    Both are what a time in seconds or in microseconds looks like.
    """
    deliver_at = body.get("deliver_at") if isinstance(body, dict) else None
    if not isinstance(deliver_at, int) or isinstance(deliver_at, bool) or not isinstance(body.get("type"), str):
        return []
    profile = registry.profile(body["type"])
    if not profile.registered:
        return []
    if deliver_at > now_ms + keep_max_ms:
        return [FieldError("deliver_at", f"lies more than {keep_max_ms // DAY_MS} days ahead", _MILLISECONDS)]
    if deliver_at < now_ms - profile.ttl_ms:
        seconds = profile.ttl_ms // 1000
        return [FieldError("deliver_at", f"is past by more than the type's ttl, {seconds} s", _MILLISECONDS)]
    return []


_MILLISECONDS = "send milliseconds since 1970 in UTC, or leave it out to send at once"


def _is_newer(body: Any) -> bool:
    version = body.get("schema_version") if isinstance(body, dict) else None
    return isinstance(version, int) and version > SCHEMA_VERSION


def _is_plain(body: Any) -> bool:
    """Whether the document is without error, as nearly every event is: a fast look, which names none."""
    try:
        event = msgspec.convert(body, NewEvent)
    except msgspec.ValidationError:
        return False
    return (
        event.to is None
        and event.rollout is None
        and all(unicode_text(value) is None for value in body.values() if isinstance(value, str))
        and (event.payload is None or payload(event.payload) is None)
    )


def _raw_event(body: dict[str, Any]) -> RawEvent:
    known = {name: value for name, value in body.items() if name in _FIELDS}
    known["event_id"] = body.get("event_id") or ""
    if body.get("rollout") is not None:
        known["rollout"] = msgspec.convert(body["rollout"], RolloutPlan)
    return RawEvent(**known)


def fan_out_errors(fan_out: str, body: dict[str, Any], profile: TypeProfile | None) -> list[FieldError]:
    """RULES 1: what the fan-out needs, and only fan-outs that the type allows (an unregistered type: 403 elsewhere)."""
    errors = [
        FieldError(needed, f"is missing, {fan_out} needs it", f"send {needed}")
        for needed in FAN_OUT_NEEDS[fan_out]
        if body.get(needed) is None
    ]
    if body.get("rollout") is not None and (fan_out == "DIRECT" or body.get("retracts")):
        errors.append(FieldError("rollout", "is for events to many, and for no retraction", "remove it"))
    if profile is None or not profile.registered:
        return errors
    if fan_out != "DIRECT" and event_class(body.get("priority"), profile) == "P0":
        errors.append(FieldError("fan_out_type", "class P0 goes to one person", "send DIRECT"))
    elif fan_out not in profile.fan_out:
        allowed = " or ".join(profile.fan_out)
        errors.append(FieldError("fan_out_type", f"{fan_out} is not for this type", f"send {allowed}"))
    return errors


def to_errors(body: dict[str, Any], fan_out: str, profile: TypeProfile, served: Served | None) -> list[FieldError]:
    """RULES 1: `to` for class P0 and DIRECT only, with channels that the type offers and addresses that a provider can
    send to; one that names none is absent.
    """
    named = [channel for channel, address in (body.get("to") or {}).items() if address is not None]
    if not named or not profile.registered:
        return []
    errors = []
    if (body.get("priority") or profile.klass) != "P0" or fan_out != "DIRECT":
        errors.append(FieldError("to", "is for class P0 and DIRECT only", "remove it"))
    offered = ", ".join(profile.channels)
    errors += [
        FieldError(f"to.{channel}", "is not offered by this type", f"use {offered}")
        for channel in named
        if channel not in profile.channels
    ]
    for channel in named:
        lacking = unserved(served, channel, None) if channel != "in_app" else None
        found = lacking or address_complaint(served, channel, None, body["to"][channel])
        if found is not None and channel in profile.channels:
            errors.append(FieldError(f"to.{channel}", *found[1]))
    return errors


def ownership_errors(raw: RawEvent, profile: TypeProfile, sender: Sender) -> list[FieldError]:
    """RULES 1: the type is registered and the sender, as its credential says, owns it."""
    if raw.sender_id is not None and raw.sender_id != sender.sender_id:
        return [FieldError("sender_id", "is not the sender of this credential", "remove it")]
    if not profile.registered:
        return [
            FieldError("type", "is not registered", "publish it with PUT /v1/types, or add it to the configuration")
        ]
    if not owns(sender, profile):
        return [FieldError("type", "is not owned by this sender", "use the credential of its owner")]
    return []


def class_errors(raw: RawEvent, profile: TypeProfile) -> list[FieldError]:
    """RULES 1: never more urgent than the type's class; a pinned type is P0 and nothing else."""
    if raw.priority is None:
        return []
    if raw.priority < profile.klass:
        return [FieldError("priority", "is more urgent than the type's class", f"send {profile.klass} or leave it out")]
    if profile.pinned and raw.priority != "P0":
        return [FieldError("priority", "reclassifies a pinned type", "send P0 or leave it out")]
    return []
