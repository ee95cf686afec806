"""Checks of documents that come from outside: texts, events' fields, preferences and the host application's records.

Each check gives `(problem, remedy)` or None and never repeats the value, which could be a secret. A document is checked
whole: `check_fields` collects every error at once (RULES 1, "all-or-nothing").
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from unicodedata import category, is_normalized
from zoneinfo import ZoneInfo

import orjson

from state.model.admission import FieldError, child_path
from state.model.event import CHANNELS, INTERRUPTIVE

TEXT_LENGTH_MAX = 256
ADDRESS_LENGTH_MAX = 4096
PAYLOAD_BYTES_MAX = 16 * 1024
PAYLOAD_DEPTH_MAX = 8
LIST_LENGTH_MAX = 10_000
INTEGER_MAX = 2**53 - 1
PAYLOAD_INTEGER_MAX = 2**64 - 1
PAYLOAD_INTEGER_MIN = -(2**63)

Complaint = tuple[str, str]
"""What is wrong, and what to do about it."""
Check = Callable[[Any], Complaint | None]

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,4}", re.ASCII)
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_MAIL = re.compile(r"[^@\s\"%!<>(),:;\\\[\]]{1,64}@[^@\s\"%!<>(),:;\\\[\]]{1,255}")
_WEB = re.compile(r"https?://[^\s/?#]+[^\s]*")


def text(value: Any) -> Complaint | None:
    """RULES 1: NFC, 1..256 characters, no control characters."""
    return _bounded_text(value, TEXT_LENGTH_MAX)


def _bounded_text(value: Any, length_max: int) -> Complaint | None:
    if not isinstance(value, str):
        return "is no string", "send a string"
    if not 1 <= len(value) <= length_max:
        return f"has {len(value)} characters", f"send 1 to {length_max} characters"
    if value.isascii():
        return None if value.isprintable() else _CONTROL_FOUND
    if _CONTROL.search(value):
        return _CONTROL_FOUND
    if any(category(character) == "Cs" for character in value):
        return "holds half of a surrogate pair", "send whole characters"
    return None if is_normalized("NFC", value) else ("is not in Unicode form NFC", "normalise it to NFC")


_CONTROL_FOUND = ("holds a control character", "remove control characters such as line breaks")


def boolean(value: Any) -> Complaint | None:
    """Either of true and false."""
    return None if isinstance(value, bool) else ("is neither true nor false", "send true or false")


def integer(value: Any, *, least: int = 0) -> Complaint | None:
    """An integer that every JSON reader keeps exactly."""
    if not isinstance(value, int) or isinstance(value, bool):
        return "is no integer", "send an integer without quotes or fraction"
    if not least <= value <= INTEGER_MAX:
        return "is out of range", f"send an integer from {least} to 2^53 - 1"
    return None


def positive(value: Any) -> Complaint | None:
    """An integer from 1 on."""
    return integer(value, least=1)


def one_of(*names: str) -> Check:
    """One of these strings, exactly."""
    allowed = frozenset(names)
    complaint = ("is none of " + ", ".join(names), "send one of them, spelled so")
    return lambda value: None if isinstance(value, str) and value in allowed else complaint


def payload(value: Any) -> Complaint | None:
    """RULES 1: a map of at most 16 KiB of JSON, depth 8 (the map itself is the first level)."""
    if not isinstance(value, dict):
        return "is no JSON object", "send an object, or leave it out"
    complaint = _nested(value, PAYLOAD_DEPTH_MAX)
    if complaint is None and len(orjson.dumps(value)) > PAYLOAD_BYTES_MAX:
        return "is larger than 16 KiB of JSON", "send a reference to large content instead"
    return complaint


def _nested(value: Any, depth_left: int) -> Complaint | None:
    if isinstance(value, str):
        return None
    if isinstance(value, dict | list):
        if depth_left == 0:
            return "is nested deeper than 8 levels", "flatten it"
        for item in value.values() if isinstance(value, dict) else value:
            complaint = _nested(item, depth_left - 1)
            if complaint is not None:
                return complaint
    elif isinstance(value, int) and not PAYLOAD_INTEGER_MIN <= value <= PAYLOAD_INTEGER_MAX:
        return "holds an integer beyond 64 bits", "send it as a string"
    return None


def check_fields(
    document: Any, checks: Mapping[str, Check], *, required: tuple[str, ...] = (), path: str = "", strict: bool = True
) -> list[FieldError]:
    """Every error of one object: unknown names (if `strict`), wrong values, missing names. Null counts as absent."""
    if not isinstance(document, dict):
        return [FieldError(path, "is no JSON object", "send a JSON object")]
    prefix = f"{path}." if path else ""
    errors = []
    for name, value in document.items():
        check = checks.get(name)
        if check is None:
            if strict:
                errors.append(FieldError(child_path(path, name), "is not known", "remove it, or correct its spelling"))
        elif value is not None and (complaint := check(value)) is not None:
            errors.append(FieldError(prefix + name, *complaint))
    errors += [FieldError(prefix + name, "is missing", "send it") for name in required if document.get(name) is None]
    return errors


# --- preferences (TOPICS, The preference document) ---


def _clock_time(value: Any) -> Complaint | None:
    if isinstance(value, str) and _TIME.fullmatch(value):
        return None
    return "is no time of day", "send HH:MM from 00:00 to 23:59"


def _zone(value: Any) -> Complaint | None:
    complaint = text(value)
    if complaint is not None:
        return complaint
    try:
        ZoneInfo(value)
    except (OSError, ValueError, KeyError):  # not found is a KeyError; a name like "../x" or "" the others
        return _NO_ZONE
    return None


_NO_ZONE = ("is no IANA time zone", "send a name such as Europe/Paris")


_SECTIONS = ("master", "quiet_hours", "frequency_cap", "types", "unsubscribed", "muted")
_QUIET_HOURS: dict[str, Check] = {
    "enabled": boolean,
    "start": _clock_time,
    "end": _clock_time,
    "timezone": _zone,
}
_CAPS: dict[str, Check] = {"max_per_hour": integer, "max_per_day": integer}


def preference_errors(document: Any) -> list[FieldError]:
    """Everything wrong with a whole preference document."""
    accepted: dict[str, Check] = dict.fromkeys(_SECTIONS, _anything)
    errors = check_fields(document, {**accepted, "master": boolean})
    if not isinstance(document, dict):
        return errors
    errors += _section(document, "quiet_hours", _QUIET_HOURS)
    errors += _section(document, "frequency_cap", _CAPS)
    errors += _section(document, "muted", {"actors": _text_list, "objects": _text_list})
    errors += _section(document, "unsubscribed", dict.fromkeys(CHANNELS, _text_list))
    errors += _type_errors(document.get("types"))
    return errors


def _anything(_value: Any) -> Complaint | None:
    return None


def _section(document: Mapping[str, Any], name: str, checks: Mapping[str, Check]) -> list[FieldError]:
    section = document.get(name)
    return [] if section is None else check_fields(section, checks, path=name)


def _type_errors(types: Any) -> list[FieldError]:
    if types is None:
        return []
    if not isinstance(types, dict) or len(types) > LIST_LENGTH_MAX:
        return [FieldError("types", "is no JSON object of at most 10000 types", "send an object of type names")]
    checks: dict[str, Check] = {"enabled": boolean, "channels": _channel_list}
    errors = [
        FieldError(child_path("types", name), *complaint) for name in types if (complaint := text(name)) is not None
    ]
    for name, setting in types.items():
        if setting is not None:
            errors += check_fields(setting, checks, path=child_path("types", name))
    return errors


def _text_list(value: Any) -> Complaint | None:
    if not isinstance(value, list) or len(value) > LIST_LENGTH_MAX:
        return f"is no list of at most {LIST_LENGTH_MAX} strings", "send a JSON array"
    return next((complaint for item in value if (complaint := text(item)) is not None), None)


def _channel_list(value: Any) -> Complaint | None:
    if not isinstance(value, list) or any(item not in CHANNELS for item in value if isinstance(item, str)):
        return "is no list of " + ", ".join(CHANNELS), "send a JSON array of channel names"
    if not all(isinstance(item, str) for item in value) or len(set(value)) != len(value):
        return "names a channel twice or holds something else", "send each channel at most once"
    return None


# --- records of the host application and of users ---


def address(value: Any) -> Complaint | None:
    """A push token or another address: up to 4096 characters, no controls."""
    return _bounded_text(value, ADDRESS_LENGTH_MAX)


def _matching(pattern: re.Pattern[str], what: str) -> Check:
    def check(value: Any) -> Complaint | None:
        complaint = address(value)
        if complaint is None and not pattern.fullmatch(value):
            return f"is no {what}", f"send a {what}"
        return complaint

    return check


_ADDRESS_CHECKS: dict[str, Check] = {
    "email": _matching(_MAIL, "mail address"),
    "sms": _matching(_PHONE, "phone number in international form: a plus sign and 7 to 15 digits, as +4915112345678"),
    "webhook": _matching(_WEB, "web address"),
}
_CHANNEL = one_of(*INTERRUPTIVE)
_STATE = one_of("active", "invalid")
_FOLLOW: dict[str, Check] = {"followee": text, "follower": text, "on": boolean}
_DEVICE: dict[str, Check] = {"device_id": text, "platform": text, "token": address}
_KILL_SCOPE = one_of("all", "sender", "type", "channel", "campaign", "door")
_KILL: dict[str, Check] = {"scope": _KILL_SCOPE, "value": text, "on": boolean, "reason": text}


def _locale(value: Any) -> Complaint | None:
    if isinstance(value, str) and _LOCALE.fullmatch(value):
        return None
    return "is no language tag", "send a tag such as en or pt-BR"


def _endpoint_errors(document: Any) -> list[FieldError]:
    channel = document.get("channel") if isinstance(document, dict) else None
    checks: dict[str, Check] = {
        "channel": _CHANNEL,
        "platform": text,
        "address": _ADDRESS_CHECKS.get(channel, address) if isinstance(channel, str) else address,
        "state": _STATE,
    }
    return check_fields(document, checks, required=("channel", "address"))


def _kill_errors(document: Any) -> list[FieldError]:
    errors = check_fields(document, _KILL, required=("scope",))
    if not errors and document["scope"] != "all" and document.get("value") is None:
        errors.append(FieldError("value", "is missing", "name the sender, type, channel or campaign"))
    return errors


_RECORD_CHECKS: dict[str, Callable[[Any], list[FieldError]]] = {
    "endpoint": _endpoint_errors,
    "profile": lambda document: check_fields(document, {"locale": _locale, "name": text}),
    "follow": lambda document: check_fields(document, _FOLLOW, required=("followee", "follower")),
    "device": lambda document: check_fields(document, _DEVICE, required=("device_id", "platform", "token")),
    "kill": _kill_errors,
    "read": lambda document: check_fields(document, {"up_to": integer}),
    "segment": lambda document: check_fields(document, {"users": lambda _: None}, required=("users",)),
}


def record_errors(kind: str, document: Any) -> list[FieldError]:
    """Everything wrong with one record of a kind named in `_RECORD_CHECKS`."""
    return _RECORD_CHECKS[kind](document)


def text_errors(path: str, value: Any) -> list[FieldError]:
    """The error of one identifier, if it has one."""
    complaint = text(value)
    return [] if complaint is None else [FieldError(path, *complaint)]
