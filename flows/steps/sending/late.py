"""The last look before a try: switches, ttl, and whether what became true since the emission forbids the send (RULES
3.A, 3.F). A message must reach only whom it is for: an address that moved to another person gets nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from connectors.changes import Changes
from connectors.control import Scope
from connectors.recall import Question
from connectors.said import Action
from connectors.templates import PublishedTexts
from flows.steps.sending.task import Planned, SendTask
from operators.late import GIVEN_ADDRESS, EmittedEvent, changed_outcome, is_retracted, quiet_outcome, sent_items
from operators.outcomes import Hold
from state.model.registry import Registry, RegistryInForce

_NO_ADDRESS = Planned("SUPPRESSED", "no_channel")
LATE_MS = 60_000
"""From this age on a delivery waits for whatever is not known."""
_ASK_AGAIN_MS = 3_000
_SEQUENCED_WITHIN_MS = 600_000
"""A change may be on the log for so long before decide knows of it."""
_SHORTLY_MS = 1_000


class Looked(NamedTuple):
    """What was known at a look."""

    version: tuple[int, int]
    """Of the changes."""
    types: Registry
    at: int


@dataclass(frozen=True, slots=True)
class LastLook:
    """What may have come about while a delivery waited: for its turn, a retry, a provider, or a log that was away."""

    is_stopped: Callable[[Scope], bool]
    """Whether a kill switch forbids a send; asked by any thread."""
    changes: Changes
    types: RegistryInForce
    published: PublishedTexts | None = None
    """What is published in the place of built-in texts; None: nothing is."""

    def __call__(self, task: SendTask, now: int) -> Planned | None:
        """How the task ends, or until when it waits; None: it may go. A task learns of its device's newer address."""
        if self.is_stopped(task.scope):
            return Planned("SUPPRESSED", "kill_switch")
        return self._unknown(task, now) or self._changed(task, now) or _over(task, now)

    def looked(self, now: int) -> Looked:
        """What a look now goes by, for `nothing_since`."""
        return Looked(self.changes.version, self.types.current, now)

    def nothing_since(self, looked: Looked, now: int) -> bool:
        """Whether what was said then holds but for switches and time: nothing has changed, and it is a moment ago."""
        recent = 0 <= now - looked.at <= _SHORTLY_MS
        return recent and looked.version == self.changes.version and looked.types is self.types.current

    def again(self, task: SendTask, now: int, *, nothing_changed: bool = False) -> Planned | None:
        """The same once more, where the intent is stored and the first byte comes next: what was known shortly before
        is enough, since an intent that leads to no send is a doubt for whoever finds it.
        """
        if self.is_stopped(task.scope):
            return Planned("SUPPRESSED", "kill_switch")
        return (None if nothing_changed else self._changed(task, now)) or _over(task, now)

    def _changed(self, task: SendTask, now: int) -> Planned | None:
        return self._address(task) or (
            None if task.siblings.withdraws else self._retraction(task) or self._setting(task, now)
        )

    def _unknown(self, task: SendTask, now: int) -> Planned | None:
        """Later, where it has waited for so long that what changed since must be read again."""
        emission = task.emission
        if now - emission.decided_at < LATE_MS or now > emission.valid_until:
            return None
        question = Question(
            emission.user,
            emission.decided_at - _SEQUENCED_WITHIN_MS,
            [(task.channel, task.device.address)] if task.device.address else [],
            [Action(item.type, item.object, item.actor) for item in sent_items(emission) or ()],
        )
        return None if self.changes.knows(question) else Planned(retry_at=now + _ASK_AGAIN_MS)

    def renewed(self, task: SendTask) -> bool:
        """Whether the device has another address by now than was tried; the task learns of it."""
        tried = task.device.address
        return self._address(task) is None and task.device.address != tried

    def _address(self, task: SendTask) -> Planned | None:
        """The address must still be this person's."""
        user, device = task.emission.user, task.device
        if device.address is None or device.id == GIVEN_ADDRESS:
            return None
        found = self.changes.endpoint(user, task.channel, device.id)
        if found is not None and (found.state != "active" or not found.address):
            return _NO_ADDRESS
        if found is not None and found.address != device.address:
            task.device = msgspec.structs.replace(
                device, address=found.address, registered_at=found.registered_at, platform=found.platform
            )
        owner = self.changes.owner(task.channel, task.device.address or "")
        return None if owner in (None, user) or task.channel != "push" else _NO_ADDRESS

    def _retraction(self, task: SendTask) -> Planned | None:
        emission = task.emission

        def takes_back(item: EmittedEvent) -> bool:
            found = self.changes.retractions(Action(item.type, item.object, item.actor))
            return bool(found) and any(
                each.at >= emission.ingested_at
                and each.target in (None, emission.user)
                and each.parent_event_id in (None, item.event_id)
                for each in found
            )

        return Planned("SUPPRESSED", "retracted") if is_retracted(emission, takes_back) else None

    def _setting(self, task: SendTask, now: int) -> Planned | None:
        emission = task.emission
        document = None if task.device.id == GIVEN_ADDRESS else self.changes.document(emission.user)
        if document is not None:
            final = changed_outcome(emission, task.channel, document, self.types.current, now)
        else:
            final = quiet_outcome(emission.quiet or None, emission.priority, now)
        if isinstance(final, Hold):
            return self._hold(task, final.until, now)
        return None if final is None else Planned(final.outcome, final.reason)

    def _hold(self, task: SendTask, until: int, now: int) -> Planned | None:
        """Until his quiet hours are over, which does not count against the ttl (RULES 3.A.2)."""
        if now > task.emission.valid_until:
            return Planned("EXPIRED")
        siblings, held_until = task.siblings, max(now, task.siblings.held_until)
        if until > held_until and not self.types.current.profile(task.emission.type).absolute_ttl:
            siblings.held_until = until  # its other devices wait for the same end
            siblings.emission = msgspec.structs.replace(
                task.emission, valid_until=task.emission.valid_until + until - held_until
            )
        return Planned(retry_at=until)


def _over(task: SendTask, now: int) -> Planned | None:
    """Its time is over, or what is withdrawn is not on the screen any more: its tag is another's there."""
    if task.siblings.overtaken and task.siblings.withdraws:
        return Planned("EXPIRED", "overtaken")
    return Planned("EXPIRED") if now > task.emission.valid_until else None
