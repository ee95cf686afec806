"""What users say they did with a notification, on a real gateway process."""

from pathlib import Path

import pytest
from helpers.callers import ANNE, BOB, fill_inbox, user_call
from helpers.gateway import Gateway, running

PATH = "/v1/notifications/feedback"


def test_feedback_on_ones_own_item_is_on_the_log(tmp_path: Path) -> None:
    fill_inbox(tmp_path, ANNE)
    with running(tmp_path) as gateway:
        said = {"event_id": "e7", "outcome": "clicked", "channel": "push"}
        for _ in range(2):
            reply = user_call(gateway, "POST", PATH, said)
            assert (reply.status, reply.json) == (200, said)
        first, again = gateway.values("outcomes")
        names = ("user", "event_id", "emission_id", "channel", "outcome", "question")
        assert [first[name] for name in names] == [ANNE, "e7", None, "push", "clicked", "clicked"]
        assert first | {"at": 0} == again | {"at": 0}
        assert user_call(gateway, "POST", PATH, {"event_id": "e7", "outcome": "opened"}).json["channel"] == "in_app"


def test_another_users_item_is_not_to_be_marked(gateway: Gateway) -> None:
    before = gateway.values("outcomes")
    assert user_call(gateway, "POST", PATH, {"event_id": "e7", "outcome": "opened"}, user=BOB).status == 404
    assert user_call(gateway, "POST", PATH, {"event_id": "unheard of", "outcome": "opened"}).status == 404
    assert gateway.values("outcomes") == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"event_id": "e7", "outcome": "delivered"}, "outcome"),
        ({"outcome": "opened"}, "event_id"),
        ({"event_id": "e7", "outcome": "opened", "channel": "sms"}, "channel"),
        ({"event_id": "e7", "outcome": "opened", "user": BOB}, "user"),
    ],
)
def test_what_a_person_cannot_say_is_refused(gateway: Gateway, body: dict[str, str], field: str) -> None:
    reply = user_call(gateway, "POST", PATH, body)
    assert reply.status == 400
    assert reply.paths == {field}
