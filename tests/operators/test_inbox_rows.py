"""An operation reads of a user's stored rows what it needs, and no other."""

from collections.abc import Iterator

from helpers.memory_inbox import MemoryInboxStore

from operators.inbox import InboxConfig, UserInbox
from state.inbox.values import InboxHead, ShardCommit, StoredRow, Subject
from state.model.row_status import NamedRow

ROWS = 50


class Watched(MemoryInboxStore):
    """Notes which rows are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def stored_rows(self, user: str, *, oldest_first: bool = False) -> Iterator[StoredRow]:
        for row in super().stored_rows(user, oldest_first=oldest_first):
            self.read.append(row.first_event_id)
            yield row

    def subject_rows(self, user: str, subject: Subject) -> list[StoredRow]:
        found = [row for row in super().stored_rows(user) if (row.type, row.object) == subject]
        self.read += [row.first_event_id for row in found]
        return found

    def newest_windowed(self, user: str, subject: Subject) -> StoredRow | None:
        found = [row for row in super().stored_rows(user) if (row.type, row.object) == subject and row.windowed]
        self.read += [row.first_event_id for row in found[:1]]
        return next(iter(found), None)

    def keep(self, inbox: UserInbox) -> None:
        self.commit(ShardCommit({"mia": inbox.take_changes()}, {}, {}, 0))

    def inbox(self) -> UserInbox:
        self.read = []
        return UserInbox(head=self.head("mia"), source=self, user="mia")


def add(inbox: UserInbox, number: int, subject: str, *, windowed: bool) -> None:
    inbox.add(
        type="like" if windowed else "post", object=subject, windowed=windowed, event_id=f"e{number}", actor="a",
        at=number, place=number,
    )  # fmt: skip


def full() -> Watched:
    """A store with a row of each number, of which the first ones are read."""
    store, inbox = Watched(), UserInbox()
    for number in range(ROWS):
        add(inbox, number, f"o{number}", windowed=number % 2 == 0)
    inbox.read(ROWS - 4)
    store.keep(inbox)
    return store


def test_an_item_reads_the_row_that_it_joins() -> None:
    store = full()
    inbox = store.inbox()
    add(inbox, ROWS, "new", windowed=False)
    assert store.read == []
    add(inbox, ROWS + 1, "o48", windowed=True)
    add(inbox, ROWS + 2, "o48", windowed=True)
    add(inbox, ROWS + 3, "new", windowed=True)
    assert store.read == ["e48"]
    assert inbox.in_memory() == 3
    add(inbox, ROWS + 4, "o2", windowed=True)
    assert store.read == ["e48", "e2"], "it was read by the user, so none joins it"
    assert inbox.in_memory() == 4
    assert inbox.head.rows == ROWS + 3


def test_what_is_taken_back_or_named_reads_rows_of_its_subject() -> None:
    store = full()
    inbox = store.inbox()
    assert inbox.take_back(type="like", object="o10", event_id="e10")
    assert not inbox.retract(type="like", object="o10", actor="a", parent_event_id=None)
    assert inbox.retract(type="post", object="o13", actor="a", parent_event_id=None)
    assert inbox.set_status("unread", [NamedRow("post", "e15", 15, "o15")]) == 1
    assert store.read == ["e10", "e13", "e15"]
    assert (inbox.head.rows, inbox.head.unread) == (ROWS - 2, 4)


def test_to_read_all_reads_down_to_the_oldest_unread_row() -> None:
    store = full()
    inbox = store.inbox()
    assert inbox.read(1_000) == 3
    assert store.read == ["e49", "e48", "e47"]
    store.keep(inbox)
    assert store.inbox().read(2_000) == 0
    assert store.read == []


def test_retirement_reads_from_the_other_end() -> None:
    store = full()
    inbox = store.inbox()
    assert inbox.retire(ROWS, InboxConfig(rows_max=ROWS)) == 0
    assert store.read == []
    assert inbox.retire(ROWS, InboxConfig(rows_max=ROWS - 2)) == 2
    assert store.read == ["e0", "e1", "e2"]
    assert inbox.head.oldest == 2
    store.keep(inbox)
    inbox = store.inbox()
    assert inbox.head.oldest == 2
    assert inbox.erase() == ROWS - 2
    assert inbox.head == InboxHead(next_number=ROWS, read_up_to=ROWS - 4)


def test_nothing_stays_in_memory_of_what_came_and_went() -> None:
    store = full()
    inbox = store.inbox()
    for number in range(ROWS, ROWS + 2_000):
        add(inbox, number, f"o{number}", windowed=True)
        assert inbox.take_back(type="like", object=f"o{number}", event_id=f"e{number}")
        assert not inbox.take_back(type="post", object=f"o{number}", event_id=f"e{number}")
        store.keep(inbox)
    known = inbox._rows
    assert len(known._subjects) + len(known._open) < 100
    add(inbox, 3_000, "o48", windowed=True)
    assert [row.count for row in inbox.rows() if row.object == "o48"] == [2]
