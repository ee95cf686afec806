"""What a user says of single rows goes through the whole system, and rows have the texts of his locale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.up import Up, carillon, running
from helpers.waiting import wait_for

from connectors.inbox.options import InboxRedisOptions
from flows.config.settings import Settings
from flows.process.inboxes import inbox_reader
from flows.process.opening import open_configured_log

PATH = "/v1/notifications/inbox"


def _like(system: Up, number: int, actor: str) -> None:
    system.post({"event_id": f"e{number}", "type": "like", "actor": actor, "target": "ann", "object": "photo"})


@pytest.mark.parametrize("store", ["rocksdb", "redis"])
def test_rows_are_read_unread_and_archived_everywhere(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    redis = InboxRedisOptions(request.getfixturevalue("redis_url"), str(tmp_path)) if store == "redis" else None
    given = {} if redis is None else {
        "CARILLON_INBOX__STORE": "redis", "CARILLON_INBOX__REDIS__URL": redis.url,
        "CARILLON_INBOX__REDIS__PREFIX": redis.prefix,
    }  # fmt: skip
    with running(tmp_path, environment=given) as system:
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
        texts = {"texts": {"title": "Bravo", "one": "{{ actor }} a aimé"}}
        assert system.call("PUT", "/v1/templates/like/fr-CA", texts, key="marketing")[0] == 200
        assert system.call("PUT", "/v1/users/ann", {"locale": "fr_CA"})[0] == 200
        _like(system, 3, "max")
        later, _ = shows("max a aimé", two, unread=1)
        assert call("POST", "/archive")["ids"] is None
        shows("max a aimé", unread=1)
        call("POST", "/archive", {"ids": [later]})
        assert call("GET", "")["items"] == []
        call("POST", "/unread", {"ids": [first]})

        log = open_configured_log(Settings(data_dir=tmp_path))
        reader = inbox_reader(tmp_path, log, redis)

        def stored() -> tuple[list[str], list[str], int]:
            pages = [reader.page("ann", 9, archived=archived) for archived in (False, True)]
            here, away = ([row.first_event_id for row in page.rows] for page in pages)
            return here, away, pages[0].unread

        wait_for(lambda: stored() == ([first], [later], 1), what=lambda: str(stored()))
        reader.close()
        log.close()
        assert call("GET", "?archived=true")["items"][0]["archived"]
        proof = carillon("ledger", "--check", "--data", str(tmp_path), environment=given)
        assert proof.returncode == 0, proof.stdout
        assert system.stop() == 0
