"""Users of a key group as they are stored, in chunks and one by one: whatever was written when, they load the same."""

from __future__ import annotations

import random
from typing import Any

import pytest
from helpers.stored_rows import StoredRows

from state.decide import codec
from state.decide.preferences import PreferenceTable
from state.decide.user_rows import SINGLE_MAX, UserRows
from state.decide.users import UserTable
from state.model.delivery import Endpoint
from state.model.errors import StateDamagedError

GROUP = 7
DOCUMENTS: list[dict[str, Any]] = [
    {}, {"master": False}, {"muted": {"actors": ["a"], "objects": ["o"]}}, {"types": {"like": {"enabled": False}}},
]  # fmt: skip
COLUMNS = ("usable", "push_devices", "known", "preference_version", "endpoint_version", "hash", "tag")


def loaded(stored: StoredRows) -> tuple[UserTable, UserRows]:
    users, rows = UserTable(PreferenceTable()), UserRows(GROUP)
    rows.load(users, stored.of(b"U"), stored.of(b"D"))
    users.changed.clear()
    return users, rows


def facts(users: UserTable) -> list[Any]:
    """Everything that a decision could ask of the users."""
    size = len(users)
    columns = [getattr(users, name)[:size].tolist() for name in COLUMNS]
    documents = [users.preferences.documents[number] for number in users.preference[:size].tolist()]
    return [
        [(users.ids.find(user), user) for user in users.ids], columns, documents, [*users.endpoints.items()],
        users.profiles, users.mutes,
        {name: rows for name, rows in users.actor_muted_by.items() if rows},
    ]  # fmt: skip


def change(users: UserTable, choose: random.Random, place: int) -> None:
    """Something about somebody, perhaps somebody new."""
    user = f"u{choose.randrange(min(len(users) + 3, 700))}"
    kind = choose.randrange(3)
    if kind == 0:
        users.set_preference(user, choose.choice(DOCUMENTS), place)
    elif kind == 1:
        device = Endpoint("push", choose.choice("ab"), "ios", "0", choose.random() < 0.8, place, place)
        users.set_endpoint(user, device)
    else:
        users.set_profile(user, "de", choose.choice(["Ada", "Grace"]))


@pytest.mark.parametrize("seed", range(5))
def test_users_load_as_they_were(seed: int) -> None:
    choose = random.Random(seed)
    stored, users, rows = StoredRows(), UserTable(PreferenceTable()), UserRows(GROUP)
    for number in range(choose.choice([3, 250, 600])):
        users.row(f"u{number}")
    kinds = set()
    for place in range(600):
        change(users, choose, place)
        if choose.random() < 0.2:
            rows.collect(users, stored.put, stored.delete)
            again, rows_again = loaded(stored)
            assert facts(again) == facts(users)
            kinds |= {key[:1] for key in stored.rows}
            if choose.random() < 0.3:
                users, rows = again, rows_again
    assert kinds == {b"U", b"D"}, "the test met both forms"


def test_who_changes_is_stored_alone_until_many_did() -> None:
    stored, users, rows = StoredRows(), UserTable(PreferenceTable()), UserRows(GROUP)
    for number in range(codec.CHUNK_ROWS):
        users.set_preference(f"u{number}", DOCUMENTS[1], number)
    rows.collect(users, stored.put, stored.delete)
    whole, stored.written = stored.written, 0
    assert len(stored.rows) == 1
    users.set_preference("u3", DOCUMENTS[3], 900)
    rows.collect(users, stored.put, stored.delete)
    assert stored.written < whole / 20
    for number in range(SINGLE_MAX - 1):
        users.set_preference(f"u{10 + number}", DOCUMENTS[3], 901)
    rows.collect(users, stored.put, stored.delete)
    assert (len(stored.of(b"U")), len(stored.of(b"D"))) == (1, SINGLE_MAX)
    users.set_preference("u9", DOCUMENTS[3], 902)
    rows.collect(users, stored.put, stored.delete)
    assert len(stored.rows) == 1, "folded"
    assert facts(loaded(stored)[0]) == facts(users)


def test_a_missing_chunk_is_noticed() -> None:
    stored, users, rows = StoredRows(), UserTable(PreferenceTable()), UserRows(GROUP)
    for number in range(2 * codec.CHUNK_ROWS):
        users.row(f"u{number}")
    rows.collect(users, stored.put, stored.delete)
    stored.delete(stored.of(b"U")[0][0])
    with pytest.raises(StateDamagedError, match="row 0 is missing"):
        loaded(stored)
