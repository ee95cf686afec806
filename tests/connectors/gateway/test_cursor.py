"""The secret of the cursors: one for all gateways of an installation, whole or not there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from connectors.gateway.cursor import Cursors, cursor_secrets, kept_secret
from connectors.gateway.problems import ProblemError
from connectors.inbox.interface import RowPosition


def test_it_is_kept_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "gateway" / "cursor.key"
    assert kept_secret(path) == kept_secret(path)
    assert (len(kept_secret(path)), path.stat().st_mode & 0o777) == (32, 0o600)


def test_those_who_start_together_have_one(tmp_path: Path) -> None:
    for number in range(20):
        path, together = tmp_path / f"{number}.key", Barrier(8)

        def start(path: Path = path, together: Barrier = together) -> bytes:
            together.wait()
            return kept_secret(path)

        with ThreadPoolExecutor(8) as pool:
            found = {each.result() for each in [pool.submit(start) for _ in range(8)]}
        assert [len(secret) for secret in found] == [32]


@pytest.mark.parametrize("left", [b"", b"short", bytes(32)])
def test_what_a_kill_or_the_disk_left_unwritten_is_no_secret(tmp_path: Path, left: bytes) -> None:
    """Cursors signed with nothing, or with zeros, could be made by anybody."""
    path = tmp_path / "cursor.key"
    for of_all in (b"", b"of all"):
        path.write_bytes(left)
        secret = cursor_secrets(path, of_all, b"")[-1]
        assert (len(secret), any(secret)) == (32, True)
        assert kept_secret(path) == secret


def test_a_cursor_outlives_a_change_of_the_secret(tmp_path: Path) -> None:
    """As links do: of what this installation kept for itself, and of the secret before."""
    path, place = tmp_path / "cursor.key", RowPosition(5, 7)

    def cursors(of_all: bytes = b"", before: bytes = b"") -> Cursors:
        return Cursors(cursor_secrets(path, of_all, before))

    own, first = cursors().encode("ann", place), cursors(b"1").encode("ann", place)
    changed = cursors(b"2", before=b"1")
    assert [changed.decode("ann", each) for each in (own, first, changed.encode("ann", place))] == [place] * 3
    for user, cursor in (("bob", first), ("ann", cursors(b"3").encode("ann", place))):
        with pytest.raises(ProblemError):
            changed.decode(user, cursor)
