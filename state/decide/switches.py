"""Kill switches that are on (RULES 3.A.1): everything, a sender, a type, a channel, a campaign."""

from state.model.event import Event

SCOPES = ("all", "sender", "type", "channel", "campaign")
_NONE: frozenset[str] = frozenset()


class KillSwitches:
    """The set of active switches; `version` is the log place of the last change."""

    def __init__(self) -> None:
        self.active: set[tuple[str, str | None]] = set()
        self.version = -1

    def set(self, scope: str, value: str | None, *, on: bool, place: int) -> None:
        """Switch on, or lift."""
        key = (scope, None if scope == "all" else value)
        if on:
            self.active.add(key)
        else:
            self.active.discard(key)
        self.version = place

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
