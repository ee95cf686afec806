"""May a text message go to this number, and what does it cost (RULES 4, "Text messages")? Pure.

Who has numbers of his own somewhere and a share in their price makes a service send codes there. So a destination,
which is what numbers begin with, can be shut or limited, and so can a block of a thousand numbers and what one sender
sends of one type. A limit is of an hour that begins with its first message. What is remembered begins with the process.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from state.model.durations import HOUR_MS

SMS_DESTINATION, SMS_LIMIT = "sms_destination", "sms_limit"
"""Reasons: not sent there at all; a limit of the hour is reached."""
BLOCK_DIGITS = 3
"""The last digits, in which the numbers of a block differ."""
OTHER = "other"
"""The name of every destination that has no rule of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Telephone numbers that begin alike."""

    price: float = 0.0
    """Of one part, in the currency of the invoice; counted as it is. Default: 0."""
    per_h: int = 0
    """The most messages in an hour. Default: 0, no limit."""
    allowed: bool = True
    """Whether text messages go there. Default: true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsRules:
    """What is allowed; 0 is no limit."""

    destinations: Mapping[str, Destination]
    """By what the number begins with, such as +49; the longest that fits counts."""
    others: Destination
    """For every other number, each counted with all of these."""
    block_per_h: int = 0
    sender_per_h: int = 0
    hours_max: int = 50_000
    """So many limits are remembered; beyond these the one that began first is forgotten."""


@dataclass(slots=True)
class _Hour:
    began: int
    count: int = 0


class SmsGuard:
    """Counts what goes. Times are milliseconds; one that goes back belongs to the hour that is."""

    def __init__(self, rules: SmsRules) -> None:
        self.rules = rules
        self._longest = max(map(len, rules.destinations), default=0)
        self._hours: dict[Hashable, _Hour] = {}

    def destination(self, number: str) -> str:
        """The one whose rule counts."""
        beginnings = (number[:length] for length in range(min(self._longest, len(number)), 0, -1))
        return next((each for each in beginnings if each in self.rules.destinations), OTHER)

    def price(self, number: str) -> float:
        """Of one part of a message to it."""
        return self._rule(self.destination(number)).price

    def refusal(self, number: str, sender: str, type_name: str, now: int) -> str | None:
        """Why a message to it is not sent; None: it is sent, and counted."""
        name = self.destination(number)
        rule = self._rule(name)
        if not rule.allowed:
            return SMS_DESTINATION
        limits = {
            ("destination", name): rule.per_h,
            ("block", number[:-BLOCK_DIGITS]): self.rules.block_per_h,
            ("sender", sender, type_name): self.rules.sender_per_h,
        }
        kept = {key: most for key, most in limits.items() if most}
        if any(self._count(key, now) >= most for key, most in kept.items()):
            return SMS_LIMIT
        for key in kept:
            self._hour(key, now).count += 1
        return None

    def _count(self, key: Hashable, now: int) -> int:
        """Without an entry for it: what is refused must not push out what counts."""
        hour = self._hours.get(key)
        return hour.count if hour is not None and now < hour.began + HOUR_MS else 0

    def _rule(self, name: str) -> Destination:
        return self.rules.destinations.get(name, self.rules.others)

    def _hour(self, key: Hashable, now: int) -> _Hour:
        hour = self._hours.get(key)
        if hour is not None and now < hour.began + HOUR_MS:
            return hour
        self._hours.pop(key, None)
        if len(self._hours) >= self.rules.hours_max:
            oldest = next((each for each in self._hours if isinstance(each, tuple) and each[0] != "destination"), None)
            self._hours.pop(oldest, None)  # destinations are configured, so they are few, and stay
        hour = self._hours[key] = _Hour(now)
        return hour
