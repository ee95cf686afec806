"""Tickets of streams."""

from pathlib import Path

import pytest
from helpers.callers import ANNE, BOB, user_call
from helpers.gateway import Gateway, now_ms, running

from connectors.gateway.problems import ProblemError
from connectors.gateway.tickets import Tickets

PATH = "/v1/notifications/inbox/stream"


def test_a_ticket_is_its_users_for_a_minute() -> None:
    now = [1_000]
    tickets = Tickets(b"s" * 32, clock=lambda: now[0])
    ticket, until = tickets.issue("ärne")
    assert until == 61_000
    now[0] = until - 1
    assert tickets.user(ticket) == "ärne"
    now[0] = until
    with pytest.raises(ProblemError):
        tickets.user(ticket)


@pytest.mark.parametrize("place", range(0, 38, 3))
def test_what_was_changed_or_made_up_is_refused(place: int) -> None:
    tickets = Tickets(b"s" * 32, clock=lambda: 0)
    ticket, _ = tickets.issue("anne")
    assert len(ticket) > 38
    for other in (
        "",
        "a",
        "ä",
        ticket[:-2],
        ticket[:place] + ("A" if ticket[place] != "A" else "B") + ticket[place + 1 :],
    ):
        with pytest.raises(ProblemError) as refused:
            tickets.user(other)
        assert refused.value.status == 401
    with pytest.raises(ProblemError):
        Tickets(b"t" * 32, clock=lambda: 0).user(ticket)


def test_a_ticket_opens_the_stream_and_nothing_else(gateway: Gateway) -> None:
    given = user_call(gateway, "POST", f"{PATH}/ticket").json
    assert 50_000 < given["expires_at"] - now_ms() <= 60_000
    ticket = given["ticket"]
    opened = gateway.get(f"{PATH}?limit=3&ticket={ticket}", key=None)
    assert (opened.status, opened.headers["content-type"]) == (200, "text/event-stream")
    assert gateway.get(f"{PATH}?limit=3&ticket={ticket}&colour=%E2%82%AC", key=None).status == 400
    assert gateway.get(f"{PATH}?ticket={ticket}&ticket={ticket}", key=None).status == 400
    for path in (PATH, f"{PATH}?ticket=", f"{PATH}?ticket={ticket[:-1]}", f"/v1/notifications/inbox?ticket={ticket}"):
        assert gateway.get(path, key=None).status == 401
    assert user_call(gateway, "GET", f"/v1/notifications/inbox?ticket={ticket}").status == 400
    assert gateway.get(f"{PATH}/ticket?ticket={ticket}", key=None).status == 405
    assert gateway.call("POST", f"{PATH}/ticket?ticket={ticket}", key=None).status == 401


def test_a_ticket_is_given_to_users_alone(gateway: Gateway) -> None:
    assert gateway.call("POST", f"{PATH}/ticket").status == 403
    tickets = [user_call(gateway, "POST", f"{PATH}/ticket", user=user).json["ticket"] for user in (ANNE, BOB)]
    assert tickets[0] != tickets[1]


def test_gateways_without_a_common_directory_take_what_the_other_gave_if_they_have_one_secret(tmp_path: Path) -> None:
    """Behind a balancer a page's next call comes to any of them."""
    log = str(tmp_path / "log")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        running(tmp_path / "a", log=log, secret_of_all="s" * 32) as one,
        running(tmp_path / "b", log=log, secret_of_all="s" * 32) as other,
    ):
        ticket = user_call(one, "POST", f"{PATH}/ticket").json["ticket"]
        assert [each.get(f"{PATH}?ticket={ticket}", key=None).status for each in (one, other)] == [200, 200]
