"""RULES 3.G and the rows' part of 3.F, worked by hand and against a model that remembers everything."""

from dataclasses import dataclass, field
from datetime import timedelta

from helpers.memory_inbox import MemoryInboxStore
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.inbox import InboxConfig, UserInbox
from state.inbox.codec import encode_row
from state.inbox.values import ITEMS_EXACT_MAX, ShardCommit

DAY_MS = 86_400_000


def like(
    inbox: UserInbox, event_id: str, actor: str | None, at: int, *, kind: str = "like", windowed: bool = True
) -> None:
    inbox.add(type=kind, object="photo", windowed=windowed, event_id=event_id, actor=actor, at=at, place=at)


def stored(inbox: UserInbox, store: MemoryInboxStore) -> UserInbox:
    """The same inbox, its changes stored, and none of its rows in memory."""
    store.commit(ShardCommit({"mia": inbox.take_changes()}, {}, {}, 0))
    again = UserInbox(head=store.head("mia"), source=store, user="mia")
    again.items_added, again.items_taken_back = inbox.items_added, inbox.items_taken_back
    again.items_retired = inbox.items_retired
    return again


def test_items_join_the_unread_row_and_move_it_to_the_top() -> None:
    inbox = UserInbox()
    like(inbox, "e1", "a", 1)
    like(inbox, "r1", "z", 2, kind="reply", windowed=False)
    like(inbox, "e2", "b", 3)
    rows = inbox.rows()
    assert [(row.type, row.first_event_id, row.count, row.at) for row in rows] == [
        ("like", "e1", 2, 3),
        ("reply", "r1", 1, 2),
    ]
    assert rows[0].actors == ("b", "a")


def test_a_row_knows_its_actors_and_the_language_of_its_latest_item() -> None:
    inbox = UserInbox()
    for number in range(ITEMS_EXACT_MAX + 40):
        actor = None if number == 3 else f"a{number % (ITEMS_EXACT_MAX + 20)}"
        inbox.add(
            type="like", object="photo", windowed=True, event_id=f"e{number}", actor=actor, at=number, place=number,
            language="de" if number < ITEMS_EXACT_MAX else "fr",
        )  # fmt: skip
    inbox = stored(inbox, MemoryInboxStore())
    [row] = inbox.rows()
    assert (row.count, row.actor_count, row.language) == (ITEMS_EXACT_MAX + 40, ITEMS_EXACT_MAX + 20, "fr")
    assert inbox.retract(type="like", actor="a10", object="photo", parent_event_id=None)
    assert inbox.retract(type="like", actor="a10", object="photo", parent_event_id=None)
    assert inbox.rows()[0].actor_count == ITEMS_EXACT_MAX + 19


def test_types_without_a_window_have_a_row_per_event() -> None:
    inbox = UserInbox()
    like(inbox, "r1", "a", 1, kind="reply", windowed=False)
    like(inbox, "r2", "a", 2, kind="reply", windowed=False)
    assert [row.first_event_id for row in inbox.rows()] == ["r2", "r1"]
    assert inbox.head.unread == 2


def test_first_item_after_reading_starts_a_row() -> None:
    inbox = UserInbox()
    like(inbox, "e1", "a", 1)
    assert inbox.read(0) == 0
    assert inbox.read(1) == 1
    like(inbox, "e2", "b", 2)
    assert [(row.first_event_id, row.read) for row in inbox.rows()] == [("e2", False), ("e1", True)]


def test_a_row_keeps_its_name_when_its_first_event_is_retracted() -> None:
    inbox = UserInbox()
    like(inbox, "e1", "a", 1)
    like(inbox, "e2", "b", 2)
    assert inbox.take_back(type="like", object="photo", event_id="e1")
    [row] = inbox.rows()
    assert (row.first_event_id, row.count, row.actors, row.at) == ("e1", 1, ("b",), 2)


def test_retraction_takes_the_latest_by_place_read_or_not() -> None:
    inbox = UserInbox()
    like(inbox, "e1", "a", 1)
    inbox.read(5)
    like(inbox, "e2", "b", 6)
    assert inbox.retract(type="like", actor="a", object="photo", parent_event_id=None)
    assert [row.first_event_id for row in inbox.rows()] == ["e2"]
    assert not inbox.retract(type="like", actor="a", object="photo", parent_event_id=None)
    assert not inbox.retract(type="like", actor="b", object="photo", parent_event_id="e1")
    assert inbox.retract(type="like", actor="b", object="photo", parent_event_id="e2")
    assert inbox.rows() == []
    assert inbox.head.unread == 0
    assert inbox.items_taken_back == 2


def test_actors_are_the_three_latest_distinct_not_null() -> None:
    inbox = UserInbox()
    for at, actor in enumerate(["a", "b", None, "c", "a", "d", None, "d"]):
        like(inbox, f"e{at}", actor, at)
    assert inbox.rows()[0].actors == ("d", "a", "c")


def test_at_goes_back_when_the_latest_item_leaves() -> None:
    inbox = UserInbox()
    like(inbox, "e1", "a", 1)
    like(inbox, "e2", "b", 9)
    inbox.take_back(type="like", object="photo", event_id="e2")
    assert inbox.rows()[0].at == 1
    assert inbox.read(1) == 1


def test_older_items_only_lower_the_count() -> None:
    inbox = UserInbox()
    for at in range(ITEMS_EXACT_MAX + 50):
        like(inbox, f"e{at}", f"u{at}", at)
    before = inbox.rows()[0]
    assert inbox.retract(type="like", actor="u3", object="photo", parent_event_id=None)
    assert not inbox.retract(type="like", actor="u3", object="photo", parent_event_id=None)
    assert not inbox.retract(type="like", actor="stranger", object="photo", parent_event_id=None)
    after = inbox.rows()[0]
    assert (after.count, after.actors, after.at) == (before.count - 1, before.actors, before.at)


def test_retirement_by_age_and_by_number() -> None:
    inbox = UserInbox()
    for at in (0, 1, 2, 90 * DAY_MS):
        like(inbox, f"r{at}", "a", at, kind="reply", windowed=False)
    assert inbox.retire(90 * DAY_MS) == 0
    assert inbox.retire(90 * DAY_MS + 1) == 1
    assert inbox.retire(90 * DAY_MS + 1, InboxConfig(timedelta(days=90), rows_max=2)) == 1
    assert [row.at for row in inbox.rows()] == [90 * DAY_MS, 2]
    assert inbox.items_retired == 2
    assert inbox.items() == 2


def test_payload_of_a_retracted_item_is_gone() -> None:
    inbox = UserInbox()
    for n in range(5):
        inbox.add(
            type="comment", object="o", windowed=True, event_id=f"e{n}", actor="a", at=n, place=n, payload=b"%d" % n
        )
    assert inbox.rows()[0].payload == b"4"
    inbox.take_back(type="comment", object="o", event_id="e4")
    assert inbox.rows()[0].payload == b"3"
    [stored_row] = inbox.take_changes().written
    assert b"\x01" + b"4" not in encode_row(stored_row)


@dataclass
class ModelRow:
    name: str
    kind: str
    windowed: bool
    items: list[tuple[int, str, str | None, int]] = field(default_factory=list)
    read: bool = False


class Model:
    """Every item of every row, in plain lists."""

    def __init__(self) -> None:
        self.rows: list[ModelRow] = []

    def add(self, kind: str, windowed: bool, event_id: str, actor: str | None, at: int) -> None:
        fitting = [row for row in self.rows if windowed and row.windowed and row.kind == kind and not row.read]
        if not fitting:
            fitting = [ModelRow(event_id, kind, windowed)]
            self.rows += fitting
        fitting[0].items.append((at, event_id, actor, at))

    def remove(self, item: tuple[int, str, str | None, int]) -> None:
        for row in self.rows:
            if item in row.items:
                row.items.remove(item)
        self.rows = [row for row in self.rows if row.items]

    def retract(self, kind: str, actor: str | None, parent: str | None) -> None:
        items = [item for row in self.rows if row.kind == kind for item in row.items]
        items = [item for item in items if item[2] == actor and parent in (None, item[1])]
        if items:
            self.remove(max(items))

    def view(self) -> set[tuple[str, str, int, tuple[str, ...], int, bool]]:
        view = set()
        for row in self.rows:
            actors = tuple(dict.fromkeys(item[2] for item in reversed(row.items) if item[2] is not None))[:3]
            view.add((row.name, row.kind, len(row.items), actors, row.items[-1][3], row.read))
        return view


actors = st.sampled_from(["a", "b", "c", "d", None])
kinds = st.sampled_from(["like", "reply"])
operations = st.lists(
    st.one_of(
        st.tuples(st.just("add"), kinds, actors),
        st.tuples(st.just("add"), kinds, actors),
        st.tuples(st.just("retract"), kinds, actors, st.one_of(st.none(), st.integers(0, 40))),
        st.tuples(st.just("take_back"), kinds, st.integers(0, 40)),
        st.tuples(st.just("read"), st.integers(0, 60)),
        st.tuples(st.just("erase")),
        st.tuples(st.just("store")),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(operations)
def test_agrees_with_a_model_that_remembers_everything(ops: list[tuple[object, ...]]) -> None:
    inbox, model, store = UserInbox(), Model(), MemoryInboxStore()
    for at, op in enumerate(ops):
        match op:
            case ("add", str(kind), actor):
                assert actor is None or isinstance(actor, str)
                like(inbox, f"e{at}", actor, at, kind=kind, windowed=kind == "like")
                model.add(kind, kind == "like", f"e{at}", actor, at)
            case ("retract", str(kind), actor, parent):
                assert actor is None or isinstance(actor, str)
                parent_id = None if parent is None else f"e{parent}"
                inbox.retract(type=kind, actor=actor, object="photo", parent_event_id=parent_id)
                model.retract(kind, actor, parent_id)
            case ("take_back", str(kind), number):
                inbox.take_back(type=kind, object="photo", event_id=f"e{number}")
                for item in [i for row in model.rows if row.kind == kind for i in row.items if i[1] == f"e{number}"]:
                    model.remove(item)
            case ("read", int(up_to)):
                inbox.read(up_to)
                for row in model.rows:
                    row.read = row.read or row.items[-1][3] <= up_to
            case ("erase",):
                inbox.erase()
                model.rows.clear()
            case _:
                inbox = stored(inbox, store)
        view = {(r.first_event_id, r.type, r.count, r.actors, r.at, r.read) for r in inbox.rows()}
        assert view == model.view()
        assert inbox.head.unread == sum(not row.read for row in model.rows)
        assert inbox.items() == inbox.items_added - inbox.items_taken_back - inbox.items_retired
