"""What a user says of single rows goes through the whole system, and rows speak his language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.up import Up, running
from helpers.waiting import wait_for

from connectors.inbox.rocksdb import RocksInboxReader

PATH = "/v1/notifications/inbox"


def _like(system: Up, number: int, actor: str) -> None:
    system.post({"event_id": f"e{number}", "type": "like", "actor": actor, "target": "ann", "object": "photo"})


def test_rows_are_read_unread_and_archived_everywhere(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        token = system.session("ann")

        def call(method: str, path: str, body: Any = None) -> Any:
            status, answer = system.call(method, f"{PATH}{path}", body, bearer=token)
            assert status == 200, answer
            return answer

        def shows(*bodies: str, unread: int, query: str = "") -> list[str]:
            def right() -> bool:
                page = call("GET", query)
                return ([row["body"] for row in page["items"]], page["unread"]) == ([*bodies], unread)

            wait_for(right, what=lambda: str((bodies, call("GET", query))))
            return [row["first_event_id"] for row in call("GET", query)["items"]]

        assert system.call("PUT", "/v1/users/ann", {"locale": "de-CH"})[0] == 200
        _like(system, 1, "bob")
        shows("bob gefällt dein Foto", unread=1)
        _like(system, 2, "eve")
        two = "eve und 1 weiteren Person gefällt dein Foto"
        (first,) = shows(two, unread=1)
        assert call("POST", "/read", {"ids": [first]})["ids"] == [first]
        shows(two, unread=0)
        assert system.call("PUT", "/v1/users/ann", {"locale": "fr"})[0] == 200
        _like(system, 3, "max")
        later, _ = shows("max aime votre photo", two, unread=1)
        assert call("POST", "/archive")["ids"] is None
        shows("max aime votre photo", unread=1)
        call("POST", "/archive", {"ids": [later]})
        assert call("GET", "")["items"] == []
        call("POST", "/unread", {"ids": [first]})

        reader = RocksInboxReader(tmp_path / "state" / "inbox", 4, tmp_path / "secondary")

        def stored() -> tuple[list[str], list[str], int]:
            pages = [reader.page("ann", 9, archived=archived) for archived in (False, True)]
            here, away = ([row.first_event_id for row in page.rows] for page in pages)
            return here, away, pages[0].unread

        wait_for(lambda: stored() == ([first], [later], 1), what=lambda: str(stored()))
        reader.close()
        assert call("GET", "?archived=true")["items"][0]["archived"]
        assert system.stop() == 0
