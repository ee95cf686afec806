"""A lane's file: what a fan-out writes lies together."""

from __future__ import annotations

from contextlib import closing
from hashlib import sha256
from pathlib import Path

from state.deliver.shown import ShownAt, ShownPush, about_digest
from state.deliver.store import PARTS, SENT_FOR_MS, LaneCommit, SendingStore, key_digest
from state.model.delivery import delivery_key
from state.model.keys import emission_id

PAGE_BYTES = 4_096


def commit(store: SendingStore, posts: range, users: range) -> None:
    sent, shown = list[bytes](), dict[ShownAt, ShownPush | None]()
    for post in posts:
        for user in (f"user{number}" for number in users):
            emission = emission_id(user, "new_post", f"post{post}", f"ev{post}")
            sent.append(key_digest(delivery_key(emission, user, "push", "d1")))
            at = ShownAt(about_digest(user, "new_post", f"post{post}"), "d1")
            shown[at] = ShownPush(emission, f"ev{post}", "d1", post, 9_000, ((f"ev{post}", "star"),))
    # as they come from many providers' connections
    sent.sort(key=lambda each: sha256(each).digest())
    store.commit(LaneCommit({}, {}, {}, {}, {}, sent, 1_000, shown=shown))


def test_what_is_over_goes_part_by_part(tmp_path: Path) -> None:
    with closing(SendingStore(tmp_path / "lane.sqlite")) as store:
        commit(store, range(20), range(100))
        gone = [store.forget_sent(1_000 + SENT_FOR_MS, part) for part in range(PARTS)]
        assert sum(gone) == 2_000
        assert max(gone) < 500
        assert not store.shown(about_digest("user1", "new_post", "post1"))


def test_a_slice_changes_few_pages_of_a_file_that_holds_many_rows(tmp_path: Path) -> None:
    path = tmp_path / "lane.sqlite"
    with closing(SendingStore(path)) as store:
        commit(store, range(100), range(200))
    wal = path.with_name(path.name + "-wal")
    with closing(SendingStore(path)) as store:
        commit(store, range(100, 101), range(200))
        assert wal.stat().st_size < 40 * PAGE_BYTES
