"""Pushes that are looked at together end, or say, as each would by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from helpers.feeding import System, now_ms, token
from helpers.waiting import wait_for

from connectors.changes import Changes
from connectors.log.interface import NewRecord
from connectors.said import Action
from connectors.templates import PublishedTexts
from flows.steps.sending.alike import AlikeLook
from flows.steps.sending.late import LastLook
from flows.steps.sending.message import message_or_end
from flows.steps.sending.task import FindHistory, Planned, SendTask, Siblings
from state.model.content import Content
from state.model.dead_letter import KILLED
from state.model.delivery import DeviceAddress, ToDeliver
from state.model.event import EVENT, Event
from state.model.preference import QuietRange
from state.model.registry import load_registry
from state.model.settings import PREFERENCE, PreferenceRecord
from state.model.template import TypeTexts

_NOTHING: FindHistory = lambda _key: None  # noqa: E731 - a constant
_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000


def hours(first: int, last: int) -> QuietRange:
    """From so many hours from now to so many."""
    start, end = ((now_ms() // _HOUR_MS + hour) * _HOUR_MS % _DAY_MS for hour in (first, last))
    return QuietRange(start, end, "UTC")


QUIET, AWAKE = hours(-2, 4), hours(6, 9)


class Listener:
    """Counts what is rendered; `killed`: doing so ended processes."""

    def __init__(self, *, killed: bool = False) -> None:
        self.rendered, self._killed = 0, killed

    def rendering(self) -> AbstractContextManager[None]:
        self.rendered += 1
        return nullcontext()

    def killed_by(self) -> bool:
        return self._killed


class Published(PublishedTexts):
    """One type's, of which each person gets a variant."""

    def __init__(self) -> None:
        pass

    def texts(self, type_name: str, locale: str | None) -> TypeTexts | None:  # noqa: ARG002 - as of the class
        texts = {"_variants": "a 50, b 50", "title": "{{ who }}", "a:one": "A", "b:one": "B", "one": "C"}
        return texts if type_name == "comment" else None


def task_of(listener: Listener, **changes: Any) -> SendTask:
    user = changes.get("user", "u0")
    values: dict[str, Any] = {
        "emission_id": "em", "user": "u0", "type": "mention", "object": "t", "first_event_id": "e1", "priority": "P1",
        "channel": "push", "devices": (DeviceAddress("d1", "ios", token(user), 1),), "actors": ("ada",),
        "actor_count": 1, "decided_at": now_ms(), "ingested_at": now_ms(), "valid_until": now_ms() + 60_000,
    }  # fmt: skip
    emission = ToDeliver(**(values | changes))
    siblings = Siblings(emission, "push", emission.devices, (), 0, _NOTHING, listener)  # type: ignore[arg-type]  # asked twice
    return siblings.make_tasks()[0]


def failed(_task: SendTask, reason: str, _now: int) -> Planned:
    return Planned("DEAD_LETTER", reason)


@pytest.fixture
def look(system: System) -> Iterator[LastLook]:
    """Knows of settings, addresses and retractions of some."""
    changes = Changes(system.log, now_ms=now_ms()).start()
    partition = system.endpoint("u1", "push", "d", "").partition
    document = PREFERENCE.encode(PreferenceRecord("u1", {"master": False}))
    retraction = Event(
        event_id="x", type="like", priority="P1", target="u0", actor="ada", object="gone", retracts=True,
        ingested_at=now_ms() + 60_000,
    )  # fmt: skip
    system.feed(
        [
            NewRecord("preferences", partition, b"u1", document, PREFERENCE.headers),
            system.endpoint("u2", "push", "d1", token("new")),
            system.endpoint("u9", "push", "d9", token("u3")),
            NewRecord("events.p1", 0, b"u0", EVENT.encode(retraction), EVENT.headers),
        ]
    )
    wait_for(lambda: changes.document("u1") and changes.endpoint("u2", "push", "d1"))
    wait_for(lambda: changes.owner("push", token("u3")))
    wait_for(lambda: changes.retractions(Action("like", "gone", "ada")))
    yield LastLook(lambda scope: scope.campaign == "stopped", changes, load_registry(), Published())
    changes.close()


def any_task(chance: random.Random, listener: Listener, now: int) -> SendTask:
    pick = chance.choice

    def rarely(usual: Any, *others: Any) -> Any:
        return pick(others) if chance.random() < 0.08 else usual

    task = task_of(
        listener, user=f"u{chance.randrange(9)}", type=pick(["mention", "like", "comment"]), object=rarely("t", "gone"),
        first_event_id=pick(["e1", "e2"]), actors=rarely(("ada",), ("bob",)), campaign=rarely(None, "stopped"),
        locale=rarely(None, "de"), name=rarely(None, "Eve"), priority=pick(["P1", "P2"]),
        quiet=rarely(None, AWAKE, QUIET), count=rarely(1, 2), actor_count=rarely(1, 3),
        decided_at=now - rarely(0, 70_000), valid_until=now + rarely(60_000, -1_000),
        payload=rarely(None, {"url": "https://a.example/1"}, {"url": "https://a.example/2"}, {"n": float("nan")}),
    )  # fmt: skip
    task.siblings.withdraws, task.siblings.overtaken = pick([False] * 7 + [True]), pick([False] * 7 + [True])
    task.siblings.replaces = pick([""] * 7 + ["e9"])
    return task


@pytest.mark.parametrize("seed", range(5))
def test_a_group_fares_as_each_of_it_alone(look: LastLook, seed: int) -> None:
    chance, now = random.Random(seed), now_ms()
    together, alone = Listener(), Listener()
    tasks = [any_task(chance, together, now) for _ in range(1_500)]
    same = random.Random(seed)
    others = [any_task(same, alone, now) for _ in tasks]
    alike = AlikeLook(look, now)
    found: list[Content | Planned] = [alike.message_or_end(task, failed, None, None) for task in tasks]
    assert found == [message_or_end(task, now, look, failed, None) for task in others]
    assert [(each.device, each.variant) for each in tasks] == [(each.device, each.variant) for each in others]
    assert together.rendered < alone.rendered
    assert len({type(each) for each in found}) == 3
    for task, other in zip(tasks, others, strict=True):
        goes = alike.goes_on(task)
        assert not goes or look.again(other, now, nothing_changed=True) is None


def test_a_fan_out_is_rendered_once_and_never_what_ended_a_process(look: LastLook) -> None:
    listener, killed = Listener(), Listener(killed=True)
    alike = AlikeLook(look, now_ms())
    tasks = [task_of(listener, user=f"v{number}") for number in range(9)]
    said = {id(alike.message_or_end(task, failed, None, None)) for task in tasks}
    assert (len(said), listener.rendered) == (1, 1)
    assert alike.message_or_end(task_of(killed, user="v9"), failed, None, None) == Planned("DEAD_LETTER", KILLED)
