"""The names of the log's topics. What each of them is for is in the table of `connectors.log.topics`."""

from typing import Final

from state.model.channels import INTERRUPTIVE

EVENTS_P0: Final = "events.p0"
EVENTS_P1: Final = "events.p1"
EVENTS_P2: Final = "events.p2"
SCHEDULE: Final = "schedule"
CAMPAIGNS: Final = "campaigns"
PREFERENCES: Final = "preferences"
ENDPOINTS: Final = "endpoints"
PROFILES: Final = "profiles"
FOLLOWS: Final = "follows"
FOLLOWERS: Final = "followers"
SEGMENTS: Final = "segments"
READS: Final = "reads"
CONTROL: Final = "control"
REGISTRY: Final = "registry"
OWNERS: Final = "owners"
WORK: Final = "work"
RETRIES: Final = "retries"
LEDGER: Final = "ledger"
INBOX: Final = "inbox"
ATTEMPTS: Final = "attempts"
OUTCOMES: Final = "outcomes"
DEAD_LETTERS: Final = "dead_letters"
AUDIT: Final = "audit"

EVENTS: Final = {"P0": EVENTS_P0, "P1": EVENTS_P1, "P2": EVENTS_P2}
"""Where accepted events go, by class."""
DELIVER: Final = {channel: f"deliver.{channel}" for channel in INTERRUPTIVE}
"""Where emissions go, by channel."""
