"""What pushes show on screens, and what is withdrawn from there when its sender takes it back (RULES 3.F).

A lane remembers what its pushes show (`state/deliver/shown.py`). decide hands a retraction that found nothing pending
to the lane, as a `Withdrawal`. It waits until all that was decided before about the same has ended here: what is not
sent by then is stopped by the last look. Where every item of a shown notification was taken back, its device gets a
message that removes it; where some are left, one that replaces it. That is a task like any other, with an intent and an
answer of its own in `attempts`, but nothing on the ledger ends with it, and nothing counts it. While it is under way,
what else is taken back about the same waits, and then comes to one message together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from flows.steps.lanes.in_hand import OpenRecord
from flows.steps.sending.attempts import Recovered
from flows.steps.sending.task import SendTask, Siblings
from operators.attempts import DeliveryHistory
from operators.late import remaining_items, sent_items, with_items
from state.deliver.shown import ShownAt, ShownPush, about_digest
from state.deliver.store import SendingStore
from state.model.delivery import WITHDRAWAL_PREFIX, DeviceAddress, ToDeliver, Withdrawal
from state.model.envelope import TopicPartition

PUSH = "push"
_About = tuple[str, str, str | None]
"""User, type and object."""
Items = tuple[tuple[str, str | None], ...]
"""Event and actor of each."""


class _Waiting(NamedTuple):
    record: OpenRecord
    withdrawal: Withdrawal


class Withdrawals:
    """Of one lane; for one thread at a time."""

    def __init__(
        self, store: SendingStore, recovered: Iterable[Recovered], first_waiting: Callable[[int], int | None]
    ) -> None:
        """Takes over what `attempts` says of withdrawals.

        `first_waiting`: from which offset of `work` on something of a key group was read and is not open yet.
        """
        self._store, self._first_waiting = store, first_waiting
        self._begun = dict[str, DeliveryHistory]()
        for each in recovered:
            for key in [key for key in each.histories if key.startswith(WITHDRAWAL_PREFIX)]:
                self._begun[key] = each.histories.pop(key)
        self._under_way: dict[_About, dict[int, int]] = {}
        """Deliveries that have not ended, by the places at which they were decided."""
        self._waiting: list[_Waiting] = []
        self._changed = defaultdict[bytes, dict[ShownAt, ShownPush | None]](dict)
        """Since the last commit, by what it is about."""
        self._sending = defaultdict[ShownAt, list[SendTask]](list)
        """Messages that have not ended, by what they remove."""
        self._left = defaultdict[bytes, dict[str, Items]](dict)
        """The items of what is being replaced, when that has ended, by what it is about and by screen."""
        self._unended = 0
        """How many: sources ask from their own threads."""
        self._stirred = False
        """Something was added or ended since those that wait were looked at."""

    @property
    def open(self) -> int:
        """Those that wait, and messages that have not ended."""
        return len(self._waiting) + self._unended

    def opened(self, record: OpenRecord, tasks: Iterable[SendTask]) -> None:
        """These are under way."""
        for task in tasks:
            emission = task.siblings.emission
            if task.siblings.withdraws:
                at = _at(_about(emission), emission, task.device.id)
                self._sending[at].append(task)
                self._unended += 1
                if task.siblings.replaces:
                    self._left[at.about][at.screen] = _named(emission) or ()
            else:
                places = self._under_way.setdefault(_about(emission), {})
                places[record.work_offset] = places.get(record.work_offset, 0) + 1

    def ended(self, record: OpenRecord, task: SendTask, spawned: int) -> None:
        """One has ended: what a provider took is on a screen from now on, or no longer."""
        siblings, self._stirred = task.siblings, True
        if siblings.withdraws:
            self._leaves(task)
            return
        about = _about(siblings.emission)
        places = self._under_way.setdefault(about, {})
        left = places.pop(record.work_offset, 0) + spawned - 1
        if left > 0:
            places[record.work_offset] = left
        if not places:
            del self._under_way[about]
        if siblings.channel == PUSH and task.history.outcome == "DELIVERED":
            at = _at(about, siblings.emission, task.device.id)
            self._keep(at, _shown(task, record.work_offset))
            for withdrawing in self._sending.get(at, ()):
                withdrawing.siblings.overtaken = True

    def hold(self, record: OpenRecord, withdrawal: Withdrawal) -> None:
        """Let it wait for what was decided before."""
        self._waiting.append(_Waiting(record, withdrawal))
        self._stirred = True

    def look_again(self) -> None:
        """Something was opened."""
        self._stirred = True

    def offsets(self, place: TopicPartition) -> set[int]:
        """What waits of a topic's partition."""
        return {each.record.offset for each in self._waiting if each.record.place == place}

    def ready(self, now: int) -> Iterator[tuple[OpenRecord, list[SendTask]]]:
        """Those that need not wait any more, with the messages that they come to."""
        if not self._stirred:
            return
        waiting, self._waiting, self._stirred = self._waiting, [], False
        together = list[_Waiting]()
        for each in waiting:
            (self._waiting if self._waits(each) else together).append(each)
        last = {_asked(each.withdrawal): each for each in together}
        for each in together:
            yield each.record, self._tasks(each, now, is_last=last[_asked(each.withdrawal)] is each)

    def take_changed(self) -> Mapping[ShownAt, ShownPush | None]:
        """What is to be stored."""
        changed = {at: shown for each in self._changed.values() for at, shown in each.items()}
        self._changed.clear()
        return changed

    def _keep(self, at: ShownAt, shown: ShownPush | None) -> None:
        self._changed[at.about][at] = shown

    def _waits(self, waiting: _Waiting) -> bool:
        about, first = _asked(waiting.withdrawal), self._first_waiting(waiting.record.group)
        if first is not None and first <= waiting.record.work_offset:
            return True
        if self._left and about_digest(*about) in self._left:
            return True
        return any(place <= waiting.record.work_offset for place in self._under_way.get(about, ()))

    def _tasks(self, waiting: _Waiting, now: int, *, is_last: bool) -> list[SendTask]:
        """One for each device that is still the user's. What some take back of one notification only the last replaces,
        also after a restart that knows of no other.
        """
        record, asked = waiting
        devices, tasks = {each.id: each for each in asked.devices}, list[SendTask]()
        for at, shown in self._shown(about_digest(asked.user, asked.type, asked.object)).items():
            if shown.items is None or shown.place > record.work_offset or shown.until < now:
                continue
            left = remaining_items(shown.items, asked.actor, asked.parent_event_id)
            device = devices.get(shown.device)
            if left and left == shown.items and not shown.stale:
                continue
            if left and device is not None and is_last and shown.said is not None:
                tasks += self._replacing(record, asked, shown, with_items(shown.said, left), device).make_tasks()
            elif left or device is None:
                self._keep(at, msgspec.structs.replace(shown, items=left, stale=True) if left else None)
            else:
                tasks += self._siblings(record, asked, shown, device).make_tasks()
        return tasks

    def _replacing(
        self, record: OpenRecord, asked: Withdrawal, shown: ShownPush, said: ToDeliver, device: DeviceAddress
    ) -> Siblings:
        emission = msgspec.structs.replace(
            said, devices=(device,), decided_at=asked.decided_at, ingested_at=asked.decided_at, valid_until=shown.until
        )
        return Siblings(
            emission, PUSH, (device,), (), record.place[1], self._find, record, withdraws=True, replaces=asked.event_id
        )

    def _siblings(self, record: OpenRecord, asked: Withdrawal, shown: ShownPush, device: DeviceAddress) -> Siblings:
        emission = ToDeliver(
            emission_id=shown.emission_id, user=asked.user, type=asked.type, object=asked.object, actors=(),
            first_event_id=shown.first_event_id, priority=asked.priority, sender_id=asked.sender_id, channel=PUSH,
            devices=(device,), decided_at=asked.decided_at, ingested_at=asked.decided_at, valid_until=shown.until,
        )  # fmt: skip
        return Siblings(emission, PUSH, (device,), (), record.place[1], self._find, record, withdraws=True)

    def _find(self, key: str) -> DeliveryHistory | None:
        return self._begun.pop(key, None)

    def _leaves(self, task: SendTask) -> None:
        """Unless something newer has taken its place."""
        at = _at(_about(task.emission), task.emission, task.device.id)
        self._sending[at].remove(task)
        self._unended -= 1
        if not self._sending[at]:
            del self._sending[at]
        left = self._left[at.about].pop(at.screen) if task.siblings.replaces else None
        if left is not None and not self._left[at.about]:
            del self._left[at.about]
        shown = self._shown(at.about).get(at)
        if shown is not None and shown.emission_id == task.emission.emission_id:
            self._keep(at, None if left is None else msgspec.structs.replace(shown, items=left, stale=False))

    def _shown(self, about: bytes) -> dict[ShownAt, ShownPush]:
        found = self._store.shown(about) | self._changed.get(about, {})
        return {at: shown for at, shown in found.items() if shown is not None}


def _asked(withdrawal: Withdrawal) -> _About:
    return withdrawal.user, withdrawal.type, withdrawal.object


def _about(emission: ToDeliver) -> _About:
    return emission.user, emission.type, emission.object


def _at(about: _About, emission: ToDeliver, device: str) -> ShownAt:
    screen = device if emission.object is not None else f"{emission.emission_id}/{device}"
    return ShownAt(about_digest(*about), screen)


def _named(emission: ToDeliver) -> Items | None:
    if emission.items is msgspec.UNSET and emission.digest_items is None and emission.count == 1:
        return ((emission.first_event_id, emission.actors[0] if emission.actors else None),)
    items = sent_items(emission)
    return None if items is None else tuple((item.event_id, item.actor) for item in items)


def _shown(task: SendTask, place: int) -> ShownPush:
    emission = task.emission
    named = _named(emission)
    several = named is not None and len(named) > 1
    said = msgspec.structs.replace(emission, devices=(), rest=(), quiet=msgspec.UNSET) if several else None
    first, until = emission.first_event_id, emission.valid_until
    return ShownPush(emission.emission_id, first, task.device.id, place, until, named, said)
