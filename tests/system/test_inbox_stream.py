"""A person's inbox in a page that stays open: what it shows is what a new request would show."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

from helpers.flow_bench import user_in_group
from helpers.up import Up, running
from helpers.waiting import wait_for

from state.model.keys import key_group
from state.model.work import BULK_FROM

PATH = "/v1/notifications/inbox/stream"


class Page:
    """What a page shows: the data of the latest event, as an EventSource would keep it."""

    def __init__(self, system: Up, token: str, last_id: str = "") -> None:
        self.shown: Any = None
        self.last_id, self.events, self.ended = last_id, 0, threading.Event()
        headers = {"authorization": f"Bearer {token}"} | ({"last-event-id": last_id} if last_id else {})
        self._connection = http.client.HTTPConnection(system.first["url"].removeprefix("http://"), timeout=60)
        self._connection.request("GET", f"{PATH}?limit=3", headers=headers)
        self._socket = self._connection.sock
        self._answer = self._connection.getresponse()
        self.status, self.media_type = self._answer.status, self._answer.headers["content-type"]
        self._thread = threading.Thread(target=self._read, daemon=True)
        if self.status == 200:
            self._thread.start()

    def _read(self) -> None:
        event_id = ""
        with contextlib.suppress(http.client.HTTPException):  # cut off by us
            for line in self._answer:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "id":
                    event_id = value
                elif name == "data":
                    self.shown, self.last_id = json.loads(value), event_id
                    self.events += 1
        self.ended.set()

    def close(self) -> None:
        """Cut the connection, as a network does."""
        assert isinstance(self._socket, socket.socket)
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)


def _mention(system: Up, number: int) -> None:
    system.post({"event_id": f"e{number}", "type": "mention", "actor": "bob", "target": "ann", "object": f"o{number}"})


def test_a_page_that_stays_open_shows_what_a_new_one_would(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        token, stranger = system.session("ann"), system.session("eve")
        page, other = Page(system, token), Page(system, stranger)
        assert (page.status, page.media_type) == (200, "text/event-stream")
        wait_for(lambda: page.events and other.events)
        assert (page.shown["items"], page.shown["unread"]) == ([], 0)

        def shows(page: Page, *names: str, unread: int) -> None:
            def right() -> bool:
                rows = [row["first_event_id"] for row in page.shown["items"]]
                return (rows, page.shown["unread"]) == ([*names], unread)

            wait_for(right, what=lambda: str(page.shown))
            status, fresh = system.call("GET", "/v1/notifications/inbox?limit=3", bearer=token)
            assert (status, fresh) == (200, page.shown)

        for number in range(1, 5):
            _mention(system, number)
        shows(page, "e4", "e3", "e2", unread=4)
        assert system.call("POST", "/v1/notifications/inbox/read", {}, bearer=token)[0] == 200
        shows(page, "e4", "e3", "e2", unread=0)
        assert (other.events, other.shown["unread"]) == (1, 0), "it is nobody else's"

        crowd = [user_in_group(key_group("ann"), number) for number in range(BULK_FROM)]
        follows = [{"followee": "star", "follower": follower} for follower in ("ann", *crowd)]
        assert system.call("POST", "/v1/follows", follows)[0] == 200
        system.post({"event_id": "p1", "type": "new_post", "actor": "star", "fan_out_type": "FOLLOWERS", "object": "p"})
        shows(page, "p1", "e4", "e3", unread=1)

        page.close()
        again = Page(system, token, page.last_id)
        _mention(system, 5)
        wait_for(lambda: again.events == 1)
        shows(again, "e5", "p1", "e4", unread=2)
        missed = Page(system, token, page.last_id)
        wait_for(lambda: missed.events == 1)
        shows(missed, "e5", "p1", "e4", unread=2)

        many = [Page(system, stranger) for _ in range(8)]
        assert [each.status for each in many] == [200] * 7 + [429]
        assert Page(system, "nobody").status == 401
        begin = time.monotonic()
        assert system.stop() == 0
        assert again.ended.wait(10), "a stream ends with its process"
        assert time.monotonic() - begin < 60
