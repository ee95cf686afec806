"""A delivery that was made to wait: what the topics say by then decides whether and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from helpers.feeding import System, now_ms, token
from helpers.waiting import wait_for

from connectors.changes import Changes
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord
from connectors.said import Action
from flows.steps.sending.late import LastLook
from flows.steps.sending.task import FindHistory, Planned, SendTask, Siblings
from state.model.delivery import DeviceAddress, ToDeliver
from state.model.event import EVENT, Event
from state.model.preference import QuietRange
from state.model.registry import load_registry
from state.model.settings import PREFERENCE, PreferenceRecord

NO_ADDRESS = Planned("SUPPRESSED", "no_channel")
RETRACTED = Planned("SUPPRESSED", "retracted")
_NOTHING: FindHistory = lambda _key: None  # noqa: E731 - a constant


class Late:
    """A look, and how it is told of changes."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.changes = Changes(system.log, now_ms=now_ms())
        self.look = LastLook(lambda _scope: False, self.changes, load_registry())

    def tell(self, record: NewRecord) -> None:
        self.system.feed([record])

    def until(self, condition: Callable[[], object]) -> None:
        wait_for(condition)


@pytest.fixture
def late(system: System) -> Iterator[Late]:
    made = Late(system)
    made.changes.start()
    yield made
    made.changes.close()


def task_of(device: str = "d1", address: str = "a", **changes: Any) -> SendTask:
    values: dict[str, Any] = {
        "emission_id": "em", "user": "u1", "type": "mention", "object": "t", "first_event_id": "e1", "priority": "P1",
        "channel": "push", "devices": (DeviceAddress(device, "ios", token(address), 1),), "actors": ("ada",),
        "actor_count": 1, "decided_at": now_ms(), "ingested_at": now_ms(), "valid_until": now_ms() + 60_000,
    }  # fmt: skip
    emission = ToDeliver(**(values | changes))
    siblings = Siblings(emission, "push", emission.devices, (), 0, _NOTHING, None)  # type: ignore[arg-type]  # nobody is told
    return siblings.make_tasks()[0]


def test_without_a_change_it_goes(late: Late) -> None:
    task = task_of()
    assert late.look(task, now_ms()) is None
    assert task.device.address == token("a")


def test_a_device_that_was_removed_gets_nothing(late: Late) -> None:
    task = task_of()
    late.tell(late.system.endpoint("u1", "push", "d1", "", state="invalid"))
    late.until(lambda: late.look(task, now_ms()) == NO_ADDRESS)


def test_a_phone_that_another_person_registered_gets_nothing(late: Late) -> None:
    """Also where nobody wrote that it is the first one's no more."""
    task, urgent = task_of(), task_of(type="security_alert", priority="P0")
    late.tell(late.system.endpoint("u2", "push", "d9", token("a")))
    late.until(lambda: late.look(task, now_ms()) == NO_ADDRESS)
    assert late.look(urgent, now_ms()) == NO_ADDRESS
    late.tell(late.system.endpoint("u1", "push", "d1", token("a")))
    late.until(lambda: late.look(task, now_ms()) is None)


def test_a_newer_address_of_the_same_device_is_used(late: Late) -> None:
    task = task_of()
    late.tell(late.system.endpoint("u1", "push", "d1", token("b")))
    late.until(lambda: late.look(task, now_ms()) is None and task.device.address == token("b"))


def test_a_look_holds_for_a_moment_and_until_something_changes(late: Late) -> None:
    task, then = task_of(), now_ms()
    looked = late.look.looked(then)
    assert late.look.nothing_since(looked, then + 1_000)
    assert not late.look.nothing_since(looked, then + 1_001)
    assert not late.look.nothing_since(looked, then - 1), "a clock that was set back"
    assert late.look.again(task, task.emission.valid_until + 1, nothing_changed=True) == Planned("EXPIRED")
    late.tell(late.system.endpoint("u1", "push", "d1", "", state="invalid"))
    late.until(lambda: late.look.again(task, now_ms()) == NO_ADDRESS)
    assert not late.look.nothing_since(looked, then)


def test_an_address_that_the_event_names_is_left_alone(late: Late) -> None:
    task = task_of(device="to", type="otp", priority="P0")
    late.tell(late.system.endpoint("u2", "push", "d9", token("a")))
    late.until(lambda: late.changes.owner("push", token("a")) == "u2")
    assert late.look(task, now_ms()) is None


def preference(system: System, user: str, document: dict[str, Any]) -> NewRecord:
    partition = system.endpoint(user, "push", "d", "").partition
    value = PREFERENCE.encode(PreferenceRecord(user, document))
    return NewRecord("preferences", partition, user.encode(), value, PREFERENCE.headers)


def test_what_is_withdrawn_asks_no_setting_but_whose_the_address_is(late: Late) -> None:
    task = task_of()
    task.siblings.withdraws = True
    late.tell(preference(late.system, "u1", {"master": False}))
    late.until(lambda: late.look(task_of(), now_ms()) == Planned("SUPPRESSED", "master_off"))
    assert late.look(task, now_ms()) is None
    assert late.look(task, task.emission.valid_until + 1) == Planned("EXPIRED")
    task.siblings.overtaken = True
    assert late.look(task, now_ms()) == Planned("EXPIRED", "overtaken")
    late.tell(late.system.endpoint("u2", "push", "d9", token("a")))
    late.until(lambda: late.look(task, now_ms()) == NO_ADDRESS)


def test_an_opt_out_binds_what_waits(late: Late) -> None:
    task = task_of()
    late.tell(preference(late.system, "u1", {"types": {"mention": {"enabled": False}}}))
    late.until(lambda: late.look(task, now_ms()) == Planned("SUPPRESSED", "type_off"))
    assert late.look(task_of(user="u2"), now_ms()) is None


def test_an_unsubscription_binds_a_mail_that_waits_and_nothing_else(late: Late) -> None:
    waiting = task_of(channel="email", type="newsletter", priority="P2")
    waiting.siblings.channel = "email"
    push, urgent = task_of(), task_of(type="security_alert", priority="P0")
    urgent.siblings.channel = "email"
    wanted = {"types": {"newsletter": {"enabled": True}}, "unsubscribed": {"email": ["marketing", "security"]}}
    late.tell(preference(late.system, "u1", wanted))
    late.until(lambda: late.look(waiting, now_ms()) == NO_ADDRESS)
    assert late.look(push, now_ms()) is None
    assert late.look(urgent, now_ms()) is None


NOON = 1_767_268_800_000  # 2026-01-01 12:00 UTC
NEARLY_MIDNIGHT = 1_767_311_940_000  # 23:59


def test_quiet_hours_that_began_hold_it_and_do_not_count_against_its_time(late: Late) -> None:
    task = task_of(quiet=QuietRange(0, 86_340_000, "UTC"), valid_until=NOON + 1, ingested_at=NOON)
    assert late.look(task, NOON) == Planned(retry_at=NEARLY_MIDNIGHT)
    assert task.emission.valid_until == NEARLY_MIDNIGHT + 1
    assert late.look(task, NEARLY_MIDNIGHT) is None
    assert late.look(task, NEARLY_MIDNIGHT + 2) == Planned("EXPIRED")


def test_a_campaign_is_dropped_where_quiet_hours_began(late: Late) -> None:
    task = task_of(quiet=QuietRange(0, 86_340_000, "UTC"), priority="P2", valid_until=NOON + 1, ingested_at=NOON)
    assert late.look(task, NOON) == Planned("SUPPRESSED", "quiet_hours")


def test_quiet_hours_of_a_newer_document_count_instead(late: Late) -> None:
    task = task_of(quiet=QuietRange(0, 86_340_000, "UTC"), valid_until=NOON + 1, ingested_at=NOON)
    late.tell(preference(late.system, "u1", {"quiet_hours": {"enabled": False}}))
    late.until(lambda: late.look(task, NOON) is None)


def retraction(system: System, **changes: Any) -> NewRecord:
    values: dict[str, Any] = {
        "event_id": "r1", "type": "mention", "priority": "P1", "actor": "ada", "target": "u1", "object": "t",
        "retracts": True, "ingested_at": now_ms() + 1,
    }  # fmt: skip
    return NewRecord("events.p1", 0, b"u1", EVENT.encode(Event(**(values | changes))), EVENT.headers)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, RETRACTED),
        ({"parent_event_id": "e1"}, RETRACTED),
        ({"parent_event_id": "e2"}, None),
        ({"target": None, "fan_out_type": "FOLLOWERS"}, RETRACTED),
        ({"actor": "bob"}, None),
        ({"target": "u2"}, None),
        ({"object": "other"}, None),
        ({"ingested_at": 5}, None),  # before it
    ],
)
def test_what_was_taken_back_does_not_go(late: Late, changes: dict[str, Any], expected: Planned | None) -> None:
    task = task_of()
    late.tell(retraction(late.system, **changes))
    late.tell(late.system.endpoint("u7", "push", "d", token("c")))
    late.until(lambda: late.changes.endpoint("u7", "push", "d"))
    action = Action("mention", changes.get("object", "t"), changes.get("actor", "ada"))
    late.until(lambda: list(late.changes.retractions(action)))
    assert late.look(task, now_ms()) == expected


HOUR_MS = 3_600_000


def waited(hours: int, device: str = "d1", address: str = "a", **changes: Any) -> SendTask:
    then = now_ms() - hours * HOUR_MS
    times = {"decided_at": then, "ingested_at": then, "valid_until": now_ms() + HOUR_MS}
    return task_of(device, address, **(times | changes))


def tell_hours_ago(system: System, hours: int, *records: NewRecord) -> None:
    log = EmbeddedLog(system.directory, clock=lambda: now_ms() - hours * HOUR_MS)
    log.append(records)
    log.close()


def looked(changes: Changes, task: SendTask) -> Planned | None:
    """What it is to do once everything is known."""
    look, found = LastLook(lambda _scope: False, changes, load_registry()), list[Planned | None]()

    def known() -> bool:
        found[:] = [look(task, now_ms())]
        return found[0] is None or found[0].outcome is not None

    wait_for(known)
    return found[0]


@pytest.fixture(params=["started since", "more changed than is kept"])
def forgetful(request: pytest.FixtureRequest, system: System) -> Iterator[Callable[[Sequence[NewRecord]], Changes]]:
    """Changes that forgot what the records say, two hours ago."""
    made: list[Changes] = []

    def make(records: Sequence[NewRecord]) -> Changes:
        if request.param == "started since":
            tell_hours_ago(system, 2, *records)
            made.append(Changes(system.log, now_ms=now_ms()).start())
            return made[0]
        made.append(Changes(system.log, now_ms=now_ms() - 9 * HOUR_MS, kept_max=1).start())
        tell_hours_ago(system, 2, *records)
        others = [
            preference(system, "u8", {}), system.endpoint("u8", "push", "d8", token("8")),
            retraction(system, actor="eve"), preference(system, "u9", {}),
        ]  # fmt: skip

        def forgotten() -> bool:
            """Partitions are read in any order, so what was told before may come behind these: tell them again."""
            system.feed(others)
            told = made[0].document("u9") is not None and made[0].endpoint("u8", "push", "d8") is not None
            return told and bool(list(made[0].retractions(Action("mention", "t", "eve"))))

        wait_for(forgotten)
        return made[0]

    yield make
    for each in made:
        each.close()


Forgetful = Callable[[Sequence[NewRecord]], Changes]


def test_an_opt_out_that_is_forgotten_is_read_again(system: System, forgetful: Forgetful) -> None:
    changes = forgetful([preference(system, "u1", {"types": {"mention": {"enabled": False}}})])
    assert looked(changes, waited(3)) == Planned("SUPPRESSED", "type_off")
    assert looked(changes, waited(3, user="u2")) is None


def test_a_phone_of_another_person_by_now_gets_nothing_however_long_ago(system: System, forgetful: Forgetful) -> None:
    changes = forgetful([system.endpoint("u2", "push", "d9", token("a"))])
    assert looked(changes, waited(3)) == NO_ADDRESS


def test_a_newer_address_from_long_ago_is_used_unless_it_moved_on(system: System, forgetful: Forgetful) -> None:
    moved = [system.endpoint("u3", "push", "d3", token("c")), system.endpoint("u2", "push", "d9", token("c"))]
    changes = forgetful([system.endpoint("u1", "push", "d1", token("b")), *moved])
    task = waited(3)
    assert looked(changes, task) is None
    assert task.device.address == token("b")
    assert looked(changes, waited(3, "d3", "q", user="u3")) == NO_ADDRESS


def test_what_was_taken_back_long_ago_does_not_go(system: System, forgetful: Forgetful) -> None:
    changes = forgetful([retraction(system, ingested_at=now_ms() - 2 * HOUR_MS)])
    assert looked(changes, waited(3)) == RETRACTED
    assert looked(changes, waited(1)) is None


def test_what_waits_asks_again_and_loses_none_of_its_time(system: System) -> None:
    changes = Changes(system.log, now_ms=now_ms())  # its thread is not started: nothing is ever known
    look, task, now = LastLook(lambda _scope: False, changes, load_registry()), waited(3), now_ms()
    found = look(task, now)
    assert found is not None
    assert found.outcome is None
    assert found.retry_at is not None
    assert now < found.retry_at < now + 10_000
    assert look(task, task.emission.valid_until + 1) == Planned("EXPIRED")


def test_many_that_ask_a_few_at_a_time_all_find_their_answer(system: System) -> None:
    """A provider that is back takes some a second: an answer must last until the next of them ask."""
    changes = Changes(system.log, now_ms=now_ms()).start()
    look = LastLook(lambda _scope: False, changes, load_registry())
    waiting = [(0, waited(3, user=f"u{number}")) for number in range(60)]
    asked = 0

    def all_went() -> bool:
        nonlocal asked
        for _ in range(3):
            if waiting and waiting[0][0] <= now_ms():
                _, task = waiting.pop(0)
                asked += 1
                planned = look(task, now_ms())
                if planned is not None:
                    assert planned.retry_at is not None
                    waiting.append((planned.retry_at, task))
        return not waiting

    wait_for(all_went)
    changes.close()
    assert asked <= 4 * 60


def test_right_before_the_first_byte_nothing_is_asked_again(system: System) -> None:
    """An intent is stored by then: one without a send would end as a doubt."""
    changes = Changes(system.log, now_ms=now_ms())  # its thread is not started: nothing is ever known
    look, task = LastLook(lambda _scope: False, changes, load_registry()), waited(3)
    assert look(task, now_ms()) is not None
    assert look.again(task, now_ms()) is None


def test_a_hold_prolongs_the_time_of_all_devices_once(late: Late) -> None:
    devices = tuple(DeviceAddress(f"d{number}", "ios", token("a"), 1) for number in range(10))
    values: dict[str, Any] = {"quiet": QuietRange(0, 86_340_000, "UTC"), "valid_until": NOON + 1, "ingested_at": NOON}
    siblings = task_of(devices=devices, **values).siblings
    assert len(siblings.tasks) == len(devices)
    for task in siblings.tasks:
        assert late.look(task, NOON) == Planned(retry_at=NEARLY_MIDNIGHT)
    assert siblings.emission.valid_until == NEARLY_MIDNIGHT + 1
