"""The calls of users about their inbox, on a real gateway process."""

import base64
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers.callers import ANNE, BOB, ROWS, fill_inbox, user_call
from helpers.gateway import Gateway, running
from helpers.waiting import wait_for

from connectors.inbox.options import InboxRedisOptions
from connectors.inbox.redis import RedisInboxReader
from connectors.inbox.redis_table import RowsMissingError
from infra.services import start_redis
from state.inbox.values import RowItem, StoredRow


def test_pages_have_no_gap_and_no_repeat(gateway: Gateway) -> None:
    seen, cursor, pages = [], "", 0
    while True:
        page = user_call(gateway, "GET", f"/v1/notifications/inbox?limit=20{cursor}").json
        seen += [item["first_event_id"] for item in page["items"]]
        pages += 1
        if page["cursor"] is None:
            break
        cursor = f"&cursor={page['cursor']}"
    assert seen == [f"e{number}" for number in reversed(range(ROWS))]
    assert (pages, page["items"][0]["payload"]) == (3, {"text": "canary"})


def test_a_row_says_what_a_person_reads(tmp_path: Path) -> None:
    payload = b'{"object_label":"reel","actor_name":"Ada","url":"https://example.org/reel"}'
    wrong = b'{"url":"javascript:alert(1)"}'
    found = [RowItem(number, f"e{number}", f"a{number}", number, payload) for number in range(49)]
    row = StoredRow(0, "like", "o0", True, "e0", 49, 48, items=found, language="de")
    other = StoredRow(1, "like", "o1", True, "f0", 1, 5, items=[RowItem(50, "f0", "eve", 5, wrong)])
    fill_inbox(tmp_path, ANNE, [row, other])
    with running(tmp_path) as gateway:
        first, second = user_call(gateway, "GET", "/v1/notifications/inbox").json["items"]
    assert (first["title"], first["body"]) == ("Gefällt mir", "Ada und 48 weiteren gefällt reel")
    assert first["url"] == "https://example.org/reel"
    assert (second["body"], second["url"]) == ("eve liked your photo", None)


def test_cursor_is_bound_to_its_user_and_signed(gateway: Gateway) -> None:
    cursor = user_call(gateway, "GET", "/v1/notifications/inbox?limit=1").json["cursor"]
    reply = user_call(gateway, "GET", f"/v1/notifications/inbox?cursor={cursor}", user=BOB)
    assert reply.status == 400
    assert b"canary" not in reply.body
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    for bit in range(0, len(raw) * 8, 7):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        text = base64.urlsafe_b64encode(changed).decode().rstrip("=")
        assert user_call(gateway, "GET", f"/v1/notifications/inbox?cursor={text}").status == 400


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=1&limit=2",
        "archived=yes",
        "user=bob",
        "cursor=x%00",
        "&".join(["a=1"] * 21),
    ],
)
def test_wrong_queries_are_400(gateway: Gateway, query: str) -> None:
    assert user_call(gateway, "GET", f"/v1/notifications/inbox?{query}").status == 400


def test_reading_counts_at_once_and_is_on_the_log(tmp_path: Path) -> None:
    fill_inbox(tmp_path, ANNE)
    with running(tmp_path) as gateway:
        path = "/v1/notifications/inbox"
        assert user_call(gateway, "GET", path).json["unread"] == ROWS
        shown = user_call(gateway, "GET", f"{path}?limit=3&cursor=" + _second_page_cursor(gateway)).json["up_to"]
        assert user_call(gateway, "POST", f"{path}/read", {"up_to": shown}).status == 200
        page = user_call(gateway, "GET", f"{path}?limit=100").json
        assert page["unread"] == 40
        assert [item["read"] for item in page["items"]] == [False] * 40 + [True] * 5
        assert gateway.values("reads") == [{"user": ANNE, "up_to": shown}]
        gateway.stop()
        gateway.start()
        assert user_call(gateway, "GET", path).json["unread"] == 40, "what was acknowledged is not taken back"
        assert user_call(gateway, "POST", f"{path}/read").status == 200
        assert user_call(gateway, "GET", path).json["unread"] == 0
        assert gateway.values("reads")[-1] == {"user": ANNE, "up_to": None}
        future = {"up_to": 2**52}
        assert user_call(gateway, "POST", f"{path}/read", future).json["up_to"] < 2**51, "never beyond now"


def test_rows_are_read_unread_and_archived_by_their_ids(tmp_path: Path) -> None:
    fill_inbox(tmp_path, ANNE)
    path = "/v1/notifications/inbox"
    with running(tmp_path) as gateway:

        def said(what: str, **body: Any) -> Any:
            reply = user_call(gateway, "POST", f"{path}/{what}", body)
            assert reply.status == 200, reply.body
            return reply.json

        def shown(query: str = "") -> tuple[list[str], int]:
            page = user_call(gateway, "GET", f"{path}?limit=100{query}").json
            states = {(False, False): "", (True, False): "r", (True, True): "a"}
            rows = [item["first_event_id"] + states[item["read"], item["archived"]] for item in page["items"]]
            return rows[-4:], page["unread"]

        assert said("read", ids=["e0", "e2", "nothing"]) == {"up_to": None, "ids": ["e2", "e0"]}
        assert shown() == (["e3", "e2r", "e1", "e0r"], ROWS - 2)
        assert said("read", ids=["e0", "e3"], up_to=1_001)["ids"] == ["e0"], "e3 is of a later page"
        assert said("unread", ids=["e2"]) == {"ids": ["e2"]}
        assert said("archive", ids=["e1"]) == {"ids": ["e1"]}
        assert shown() == (["e4", "e3", "e2", "e0r"], ROWS - 2)
        assert shown("&archived=true") == (["e1a"], ROWS - 2)
        assert said("archive", up_to=1_000) == {"ids": None}
        assert shown("&archived=true") == (["e1a", "e0a"], ROWS - 2)
        gateway.stop()
        gateway.start()
        assert shown() == (["e5", "e4", "e3", "e2"], ROWS - 2), "what was acknowledged is not taken back"
        assert said("unread", ids=["e1"]) == {"ids": ["e1"]}
        assert (shown(), shown("&archived=true")) == ((["e4", "e3", "e2", "e1"], ROWS - 1), (["e0a"], ROWS - 1))
        assert said("read")["up_to"] is None
        assert said("archive") == {"ids": None}
        assert shown() == ([], 0)
        assert said("unread", ids=["nothing"]) == said("archive", ids=[]) == {"ids": []}
        first = gateway.values("reads")[0]
        assert first["rows"][0] == {"type": "like", "event_id": "e2", "at": 1_002, "object": "o2"}
        assert (first["status"], first["up_to"]) == ("read", 0)
        wrong: list[tuple[str, Any]] = [("unread", {}), ("archive", {"ids": ["x"] * 101})]
        for what, body in [*wrong, ("read", {"ids": "e1"})]:
            assert user_call(gateway, "POST", f"{path}/{what}", body).status == 400


def test_inboxes_in_redis_are_read_there_and_are_all_that_is_missing_without_it(tmp_path: Path) -> None:
    server, path = start_redis(), "/v1/notifications/inbox"
    try:
        fill_inbox(tmp_path, ANNE, redis=InboxRedisOptions(server.url))
        with running(tmp_path, inbox_redis=server.url) as gateway:
            page = user_call(gateway, "GET", f"{path}?limit=100").json
            assert (len(page["items"]), page["unread"]) == (ROWS, ROWS)
            assert user_call(gateway, "POST", f"{path}/read", {"ids": ["e0"]}).json["ids"] == ["e0"]
            server.process.kill()
            calls: list[tuple[str, str, Any]] = [
                ("GET", "", None), ("GET", "/stream", None), ("POST", "/unread", {"ids": ["e0"]}),
            ]  # fmt: skip
            for method, what, body in calls:
                reply = user_call(gateway, method, path + what, body)
                assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert user_call(gateway, "POST", f"{path}/read").status == 200, "which needs the log alone"
            assert user_call(gateway, "GET", "/v1/preferences").status == 200
            event = {"type": "like", "actor": "bob", "target": ANNE, "object": "o"}
            assert gateway.post(event).status == 202
            server.process.start()
            with closing(RedisInboxReader(InboxRedisOptions(server.url), 4)) as reader, pytest.raises(RowsMissingError):
                reader.page(ANNE, 1)  # it came back empty
            assert user_call(gateway, "GET", path).status == 503
            fill_inbox(tmp_path, ANNE, redis=InboxRedisOptions(server.url))
            wait_for(lambda: user_call(gateway, "GET", path).status == 200)
            assert len(user_call(gateway, "GET", f"{path}?limit=100").json["items"]) == ROWS
    finally:
        server.stop()


def _second_page_cursor(gateway: Gateway) -> str:
    return str(user_call(gateway, "GET", "/v1/notifications/inbox?limit=40").json["cursor"])


def test_another_users_inbox_is_empty(gateway: Gateway) -> None:
    page = user_call(gateway, "GET", "/v1/notifications/inbox", user=BOB)
    assert page.json == {"items": [], "unread": 0, "up_to": None, "cursor": None}
