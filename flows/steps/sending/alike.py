"""Pushes that are taken up together mostly say the same to many, of whom nothing was heard lately. What they have in
common is looked at once for all of them: switches, retractions, quiet hours, and the text.

It only ever says yes. Whatever is not plain is left to the looks of `message_or_end`, one by one.
"""

from __future__ import annotations

from collections.abc import Hashable

import msgspec
from msgspec import UNSET

from connectors.control import Scope
from connectors.said import Action
from flows.steps.sending.late import LATE_MS, LastLook
from flows.steps.sending.message import EndOfFailed, MailLinks, message_or_end
from flows.steps.sending.task import Planned, SendTask, Siblings
from flows.steps.sending.texts import TextMessages
from operators.late import GIVEN_ADDRESS, quiet_outcome, sent_items
from state.model.content import Content, PushContent
from state.model.delivery import ToDeliver

PUSH = "push"
_payload = msgspec.json.Encoder().encode


class AlikeLook:
    """At one time, for one group of tries."""

    def __init__(self, last_look: LastLook, now: int) -> None:
        self._look, self._now = last_look, now
        self._stopped: dict[tuple[str, str, str, str | None], bool] = {}
        self._quiet: dict[Hashable, bool] = {}
        self._taken_back: dict[tuple[str, str | None, tuple[str, ...]], bool] = {}
        self._texts: dict[Hashable, PushContent] = {}

    def goes_on(self, task: SendTask) -> bool:
        """Whether neither a switch nor time holds it back, where nothing else has changed since it was looked at."""
        siblings = task.siblings
        return not (self._is_stopped(siblings) or siblings.overtaken) and self._now <= siblings.emission.valid_until

    def message_or_end(
        self, task: SendTask, failed: EndOfFailed, links: MailLinks | None, texts: TextMessages | None
    ) -> Content | Planned:
        """What a try says, or the end of the task without one."""
        if not self._is_plain(task):
            return message_or_end(task, self._now, self._look, failed, links, texts)
        said: Content | Planned | None = self._said_before(task)
        if said is None:
            said = message_or_end(task, self._now, self._look, failed, links, texts, may_go=True)
            if isinstance(said, PushContent):
                self._keep(task.siblings.emission, said)
        return said

    def _is_plain(self, task: SendTask) -> bool:
        """Whether nothing that became known since its emission concerns it."""
        siblings, device = task.siblings, task.device
        emission, now = siblings.emission, self._now
        return (
            not self._is_stopped(siblings)
            and now <= emission.valid_until
            and now - emission.decided_at < LATE_MS
            and not siblings.withdraws
            and not siblings.replaces
            and device.address is not None
            and device.id != GIVEN_ADDRESS
            and self._look.changes.is_silent(emission.user, siblings.channel, device.id, device.address)
            and (not emission.quiet or self._is_awake(emission))
            and not self._is_taken_back(emission)
        )

    def _said_before(self, task: SendTask) -> PushContent | None:
        """What one of them said, who had the same to say; None: it must be rendered, unless that ended the process."""
        emission = task.siblings.emission
        if not self._texts or task.siblings.channel != PUSH or emission.draft or task.siblings.listener.killed_by():
            return None
        said = self._texts.get(_said(emission))
        if said is None:
            return None
        task.variant = None
        first = "event_id", emission.first_event_id
        return said if said.data[0] == first else PushContent(said.title, said.body, (first, *said.data[1:]))

    def _keep(self, emission: ToDeliver, content: PushContent) -> None:
        """For those that come behind it; published texts, which may have variants, and drafts are not kept."""
        published = self._look.published
        own = emission.draft or (published is not None and published.texts(emission.type, emission.locale) is not None)
        if not own and (said := _said(emission)) is not None:
            self._texts[said] = content

    def _is_stopped(self, siblings: Siblings) -> bool:
        emission = siblings.emission
        names = emission.sender_id, emission.type, siblings.channel, emission.campaign
        found = self._stopped.get(names)
        if found is None:
            found = self._stopped[names] = self._look.is_stopped(Scope(*names))
        return found

    def _is_awake(self, emission: ToDeliver) -> bool:
        known = emission.quiet, emission.priority
        found = self._quiet.get(known)
        if found is None:
            found = quiet_outcome(emission.quiet or None, emission.priority, self._now) is None
            self._quiet[known] = found
        return found

    def _is_taken_back(self, emission: ToDeliver) -> bool:
        """Whether some of what it is about was; of several events each may be."""
        if emission.count != 1 or emission.items is not UNSET or emission.digest_items is not None:
            return self._some_taken_back(emission)
        about = emission.type, emission.object, emission.actors
        found = self._taken_back.get(about)
        if found is None:
            found = self._taken_back[about] = self._some_taken_back(emission)
        return found

    def _some_taken_back(self, emission: ToDeliver) -> bool:
        ask = self._look.changes.retractions
        return any(ask(Action(item.type, item.object, item.actor)) for item in sent_items(emission) or ())


def _said(emission: ToDeliver) -> Hashable:
    """All that the text of a push is made of, and what goes with it but for its event; None: nobody else says that."""
    try:
        payload = None if emission.payload is None else _payload(emission.payload)
    except (ValueError, OverflowError):
        return None
    return (
        emission.type, emission.locale, emission.actors, emission.actor_count, emission.count, emission.name,
        emission.first, emission.priority, emission.quiet, payload,
    )  # fmt: skip
