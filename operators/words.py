"""Times, durations, numbers and lists as a person reads them: exactly, so that a value can be compared with another."""

from collections.abc import Sequence
from datetime import UTC, datetime

from state.model.channels import channel_name
from state.model.zones import offset_at

_CHANNELS = {
    "push": "push",
    "sms": "SMS",
    "email": "email",
    "webhook": "webhook",
    "chat": "chat",
    "in_app": "the inbox",
}
_UNITS = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000))


def time_text(instant_ms: int | None, zone: str) -> str:
    """An instant in a zone, to the second."""
    if instant_ms is None:
        return "an unknown time"
    shown = datetime.fromtimestamp((instant_ms + offset_at(zone, instant_ms)) // 1000, UTC)
    return f"{shown:%Y-%m-%d %H:%M:%S} {zone}"


def clock_text(time_of_day_ms: int) -> str:
    """HH:MM."""
    minutes = time_of_day_ms // 60_000
    return f"{minutes // 60:02}:{minutes % 60:02}"


def duration_text(duration_ms: int) -> str:
    """A duration with every unit that it has: `1 hour 29.5 seconds`."""
    parts, left = [], max(duration_ms, 0)
    for name, unit in _UNITS:
        count, left = divmod(left, unit)
        if count:
            parts.append(number_text(count, name))
    if left or not parts:
        seconds = f"{left / 1000:.3f}".rstrip("0").rstrip(".")
        parts.append(f"{seconds} second{'' if left == 1000 else 's'}")
    return " ".join(parts)


def number_text(count: int, name: str, plural: str | None = None) -> str:
    """How many of what."""
    return f"{count} {name if count == 1 else plural or name + ('es' if name.endswith('s') else 's')}"


def channel_text(channel: str) -> str:
    """A channel within a sentence."""
    return _CHANNELS.get(channel) or channel_name(channel, "en")


def channels_text(channels: Sequence[str]) -> str:
    """Channels joined by commas and an `and`."""
    return list_text([channel_text(channel) for channel in channels]) or "no channel"


def list_text(names: Sequence[str]) -> str:
    """Names joined by commas and an `and`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def capital(text: str) -> str:
    """With a capital letter."""
    return text[:1].upper() + text[1:]
