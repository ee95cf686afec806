"""What is given up at one place has a number of its own, also in a store that knows some of it by the letters; and
from how many recipients on columns decide is said by the log and kept, so that two releases write the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from helpers import work_log
from helpers.flow_bench import PARTITIONS, REGISTRY, START, user_in_group
from helpers.replacing import replaced
from helpers.rows import rows_of
from prometheus_client import REGISTRY as METRICS

from connectors.log import NewRecord, Record
from flows.steps.decide.group import GIVEN_UP_HEADER, GroupDecider, restore_skips
from operators import decide as rules
from operators.aggregate import time_comes
from operators.bulk import release_slice
from operators.context import OutcomeWriter
from operators.sequence import versions_in_force
from state import slices
from state.decide.checkpoint import GroupStore
from state.decide.pending import PendingGroup
from state.disk.poison import PoisonJournal
from state.model.event import Event
from state.model.registry import load_registry
from state.model.work import (
    BULK_FROM,
    BULK_FROM_BEFORE,
    EndpointWork,
    EventWork,
    FollowWork,
    PreferenceWork,
    SliceWork,
    TickWork,
    VersionsWork,
    Work,
    encode_work,
)

GROUP = 7
USERS = [user_in_group(GROUP, number) for number in range(3)]
TRIES_MAX = 50
WINDOW_MS = 60_000


class _EndlessError(BaseException):
    """The same is given up again and again."""


@contextmanager
def _defect() -> Iterator[None]:
    """The rules raise whenever a time comes."""
    tries = 0

    def raising(_writer: OutcomeWriter, _group: PendingGroup, _now: int) -> None:
        nonlocal tries
        tries += 1
        if tries > TRIES_MAX:
            raise _EndlessError
        raise ZeroDivisionError

    with replaced(rules, time_comes=raising):
        yield


def _works() -> list[Work]:
    """Three windows that end with one tick: nothing waits in the first and the last of them."""
    works: list[Work] = [
        EndpointWork(g=GROUP, stamp=START, user=user, channel="push", id="d", address="x") for user in USERS
    ]
    for number, user in enumerate((*USERS, USERS[1], USERS[1])):
        event = work_log.event(f"e{number}", "like", START, target=user, object="o", actor=f"a{number}")
        works.append(EventWork(g=GROUP, stamp=START + number, event=event, users=[user]))
    return [*works, TickWork(stamp=START + 2 * WINDOW_MS), TickWork(stamp=START + 3 * WINDOW_MS)]


def _decided(directory: Path, known: list[NewRecord]) -> tuple[list[NewRecord], dict[int, list[str]]]:
    """Everything that the works lead to, and who is given up, by offset in the order of the numbers."""
    store, journal = GroupStore(directory / "db"), PoisonJournal.open(directory / "poison")
    restore_skips(store, [GROUP], (Record("dead_letters", 0, n, 0, *each[2:]) for n, each in enumerate(known)))
    decider = GroupDecider(GROUP, store, REGISTRY, journal, partitions=PARTITIONS)
    outputs = [each for n, work in enumerate(_works()) for each in decider.decide([(n, encode_work(work))])]
    store.forget_skips()
    given_up = {at: [each.user for _, each in sorted(of.items())] for at, of in store.given_up(GROUP).items()}
    store.close()
    journal.close()
    return outputs, given_up


def test_what_the_letters_tell_of_keeps_its_number(tmp_path: Path) -> None:
    """Where nothing waits there is no letter; the defect gives it up once more when all is decided anew."""
    with _defect():
        outputs, given_up = _decided(tmp_path / "first", [])
        letters = [each for each in outputs if each.topic == "dead_letters"]
        assert sorted(given_up[8]) == sorted(USERS)
        numbers = {int.from_bytes(dict(each.headers)[GIVEN_UP_HEADER][:4], "big") for each in letters}
        assert (len(letters), numbers) == (2, {1}), "the story is another one: one before and one behind has nothing"
        again, given_up_again = _decided(tmp_path / "again", letters)
    assert again == outputs
    assert given_up_again == given_up


# A batch whose time comes ---------------------------------------------------------

MANY = [user_in_group(GROUP, number) for number in range(70)]
BAD = MANY[3]
NIGHT_MS = 8 * 3_600_000


@contextmanager
def _bad_member() -> Iterator[None]:
    """The rules raise wherever that user's time comes, alone or with others, when they have changed the state."""

    def raising_together(*args: Any) -> Any:
        release_slice(*args)
        raise ZeroDivisionError

    def raising(writer: OutcomeWriter, group: PendingGroup, now: int) -> None:
        time_comes(writer, group, now)
        if writer.state.users.ids[group.row] == BAD:
            raise ZeroDivisionError

    with replaced(rules, release_slice=raising_together, time_comes=raising):
        yield


def _night() -> list[Work]:
    """Seventy wait for the morning."""
    quiet = {"quiet_hours": {"enabled": True, "start": "00:00", "end": "08:00", "timezone": "UTC"}}
    works: list[Work] = []
    for user in MANY:
        works.append(EndpointWork(g=GROUP, stamp=START, user=user, channel="push", id="d", address="x"))
        works.append(PreferenceWork(g=GROUP, stamp=START, user=user, doc=quiet))
    news = work_log.event("n", "announcement", START, fan_out_type="BROADCAST", payload={"critical": True})
    return [*works, SliceWork(g=GROUP, stamp=START, event=news), TickWork(stamp=START + NIGHT_MS)]


def _decide_night(directory: Path, *, stop_before_last: bool = False) -> tuple[list[NewRecord], list[tuple[str, str]]]:
    store, journal = GroupStore(directory / "db"), PoisonJournal.open(directory / "poison")
    decider = GroupDecider(GROUP, store, REGISTRY, journal, partitions=PARTITIONS)
    works, outputs = _night(), list[NewRecord]()
    for offset, work in enumerate(works[:-1] if stop_before_last else works):
        outputs += decider.decide([(offset, encode_work(work))])
    decider.collect()
    if stop_before_last:
        store.commit()
    given_up = [(each.user, each.key.kind) for of in store.given_up(GROUP).values() for each in of.values()]
    store.close()
    journal.close()
    return outputs, given_up


def test_one_bad_member_of_a_batch_takes_down_no_other(tmp_path: Path) -> None:
    _decide_night(tmp_path, stop_before_last=True)
    with _bad_member():
        outputs, given_up = _decide_night(tmp_path)
    assert given_up == [("", "batch"), (BAD, "single")]
    ends = {row["user"]: row["outcome"] for each in outputs for row in rows_of(each) if row.get("kind") == "decision"}
    assert ends == dict.fromkeys(MANY, "EMITTED") | {BAD: "SUPPRESSED"}
    assert len([each for each in outputs if each.topic == "dead_letters"]) == 1
    assert _decide_night(tmp_path) == (outputs, given_up), "also when the defect is gone"


def test_what_is_held_is_counted_from_the_start_of_a_process_to_its_end(tmp_path: Path) -> None:
    def held() -> float:
        return METRICS.get_sample_value("carillon_decide_waiting", {"outcome": "HELD"}) or 0.0

    before = held()
    _decide_night(tmp_path, stop_before_last=True)
    assert held() - before == len(MANY)
    before = held()
    _decide_night(tmp_path)  # as another process, which finds them held and lets them go
    assert held() == before


NOW = 1_767_225_600_000
TYPES = load_registry()


class World:
    """One key group over one store."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._next = directory, 0
        self.open()

    def open(self) -> None:
        self._store = GroupStore(self._directory / "store")
        self._journal = PoisonJournal.open(self._directory / "journal")
        self._decider = GroupDecider(0, self._store, TYPES, self._journal, partitions=4)

    def close(self) -> None:
        self._journal.close()
        self._store.close()

    def apply(self, work: Work) -> set[str]:
        """The schemas on topic `ledger` of what the record leads to."""
        records = self._decider.decide([(self._next, encode_work(work))])
        self._next += 1
        self._decider.collect()
        self._store.commit()
        return {dict(record.headers)["schema"].decode() for record in records if record.topic == "ledger"}

    def post(self) -> set[str]:
        name = f"post{self._next}"
        event = Event(event_id=name, type="new_post", priority="P1", fan_out_type="FOLLOWERS", sender_id="s",
                      actor="star", object=name, ttl_ms=1_000, ingested_at=NOW)  # fmt: skip
        return self.apply(SliceWork(g=0, stamp=NOW, event=event))


def test_a_log_that_does_not_say_it_is_decided_as_it_was(tmp_path: Path) -> None:
    in_columns = {slices.SCHEMA.decode()}
    versions = versions_in_force(TYPES)
    assert versions.bulk_from == BULK_FROM < BULK_FROM_BEFORE
    with closing(World(tmp_path)) as world:
        for number in range(BULK_FROM):
            world.apply(FollowWork(g=0, stamp=NOW, follower=f"u{number}", followee="star", on=True))
        assert world.post() != in_columns
        unsaid = VersionsWork(stamp=NOW, registry=1, tzdata=versions.tzdata, rules=1, types=versions.types)
        world.apply(unsaid)
        world.close()
        world.open()
        assert world.post() != in_columns
        world.apply(versions)
        assert world.post() == in_columns
        world.close()
        world.open()
        assert world.post() == in_columns
        world.apply(unsaid)
        assert world.post() == in_columns
