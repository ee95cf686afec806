"""Kill switches that are on (RULES 3.A.1): everything, a sender, a type, a channel, a campaign. And the one that
`sequence` sets while the system is overloaded (RULES 1, "Load"), and those for what is away (RULES 3.E).
"""

from state.model.event import Event
from state.model.load import AWAY, UNDER_LOAD

_NONE: frozenset[str] = frozenset()
_LOAD = (UNDER_LOAD, None)


class KillSwitches:
    """The set of active switches; `version` is the log place of the last change that a person made."""

    def __init__(self) -> None:
        self.active: set[tuple[str, str | None]] = set()
        self.version = -1

    def set(self, scope: str, value: str | None, *, on: bool, place: int) -> None:
        """Switch on, or lift."""
        key = (scope, None if scope in ("all", UNDER_LOAD) else value)
        if on:
            self.active.add(key)
        else:
            self.active.discard(key)
        if scope not in (AWAY, UNDER_LOAD):
            self.version = place

    @property
    def under_load(self) -> bool:
        """Whether what is least missed gives way."""
        return bool(self.active) and _LOAD in self.active

    @property
    def away(self) -> frozenset[str]:
        """Channels with the platforms whose providers are away: `push/android`, `email/*`."""
        if not self.active:
            return _NONE
        return frozenset(value for scope, value in self.active if scope == AWAY and value is not None)

    def stops(self, event: Event) -> bool:
        """Whether a switch ends this event for everybody; channels are not looked at."""
        active = self.active
        if not active:
            return False
        campaign = event.fan_out_type in ("SEGMENT", "BROADCAST") and ("campaign", event.object) in active
        return (
            ("all", None) in active
            or ("sender", event.sender_id) in active
            or ("type", event.type) in active
            or campaign
        )

    def channel(self, name: str) -> bool:
        """Whether a switch is on the channel."""
        return bool(self.active) and ("channel", name) in self.active

    def channels(self) -> frozenset[str]:
        """The channels that a switch is on."""
        if not self.active:
            return _NONE
        return frozenset(value for scope, value in self.active if scope == "channel" and value is not None)
