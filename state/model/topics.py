"""The names of the log's topics. What each of them is for is in the table of `connectors.log.topics`."""

from typing import Final

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
DELIVER_PUSH: Final = "deliver.push"
DELIVER_SMS: Final = "deliver.sms"
DELIVER_EMAIL: Final = "deliver.email"
DELIVER_WEBHOOK: Final = "deliver.webhook"
DELIVER_CHAT: Final = "deliver.chat"

EVENTS: Final = {"P0": EVENTS_P0, "P1": EVENTS_P1, "P2": EVENTS_P2}
"""Where accepted events go, by class."""
DELIVER: Final = {
    "push": DELIVER_PUSH, "sms": DELIVER_SMS, "email": DELIVER_EMAIL, "webhook": DELIVER_WEBHOOK, "chat": DELIVER_CHAT,
}  # fmt: skip
"""Where emissions go, by channel."""
