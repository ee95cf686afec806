"""What makes an event 400: what its members ask of each other and of the registry, without a gateway around."""

from typing import Any

import pytest

from operators.admit import WARNINGS_MAX, Rules, field_errors
from state.model.admission import Admitted, RefusedRequest, Sender
from state.model.documents import KillSwitch, NewDevice, NewEndpoint
from state.model.registry import load_registry

REGISTRY = load_registry({"alarm": {"klass": "P0", "fan_out": ["DIRECT", "SEGMENT", "FOLLOWERS"]}})


@pytest.mark.parametrize(
    ("event", "paths"),
    [
        ({"type": "alarm", "target": "u"}, set()),
        ({"type": "alarm", "fan_out_type": "SEGMENT", "segment": "s"}, {"fan_out_type"}),
        ({"type": "alarm", "fan_out_type": "SEGMENT", "segment": "s", "priority": "P1"}, set()),
        ({"type": "newsletter", "fan_out_type": "SEGMENT", "segment": "s", "priority": "P0"}, set()),
    ],
)
def test_class_p0_goes_to_one_person(event: dict[str, Any], paths: set[str]) -> None:
    assert {error.path for error in field_errors(event, REGISTRY)} == paths


CARD = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("event", "paths"),
    [
        ({"type": "reminder", "payload": {"text": f"is {CARD} yours?"}}, {"payload.text"}),
        ({"type": "mention", "payload": {"text": "hi", "actor_name": "123-45-6789"}}, {"payload.actor_name"}),
        ({"type": "like", "payload": {"object_label": CARD, "order": "5555 5555 5555 4444"}}, {"payload.object_label"}),
        ({"type": "reminder", "payload": {"title": CARD, "body": "pay"}}, {"payload.title"}),
        ({"type": "alarm", "payload": {"body": CARD}}, {"payload.body"}),
        ({"type": "payment_confirmation", "payload": {"amount": 4111111111111111}}, {"payload.amount"}),
        ({"type": "payment_confirmation", "payload": {"amount": "9 EUR", "card": CARD}}, set()),
        ({"type": "mention", "payload": {"text": CARD}}, set()),
        ({"type": "mention", "payload": {"text": "hi", "url": "https://a.example/4111111111111111"}}, set()),
        ({"type": "reminder", "payload": {"text": CARD}, "retracts": True}, set()),
        ({"type": "otp", "payload": {"code": "123-45-6789"}}, set()),
    ],
)
def test_a_number_that_a_lock_screen_would_show(event: dict[str, Any], paths: set[str]) -> None:
    assert {error.path for error in field_errors({"target": "u", **event}, REGISTRY)} == paths


RULES = Rules(
    load_registry({"theirs": {"klass": "P2", "owners": ["others"]}}),
    served={"push": {"*": "apns"}, "sms": {"*": "e164"}, "email": {"*": "mail"}},
)
AUTH = Sender("auth", frozenset(("P0",)))
APP = Sender("app", types=("l*", "theirs", "reminder", "nothing"))
LIKE = {"type": "like", "actor": "ann", "target": "bob", "object": "photo"}
NOW = 1_767_225_600_000


def judged(event: dict[str, Any], sender: Sender = APP) -> Admitted | RefusedRequest:
    return RULES.judge_closely(event, sender, now_ms=NOW, new_event_id=lambda: "new")


@pytest.mark.parametrize(
    ("more", "status", "paths"),
    [
        ({"type": "theirs"}, 403, ["type"]),
        ({"type": "mention"}, 403, ["type"]),
        ({"type": "nothing"}, 403, ["type"]),
        ({"sender_id": "others"}, 403, ["sender_id"]),
        ({"priority": "P0"}, 403, ["priority"]),
        ({"type": "nothing", "target": None}, 400, ["target"]),
        ({"deliver_at": NOW // 1000}, 400, ["deliver_at"]),
        ({"deliver_at": NOW * 1000}, 400, ["deliver_at"]),
        ({"ttl_ms": -1, "object": "x" * 257}, 400, ["object", "ttl_ms"]),
        ({"fan_out_type": "BROADCAST"}, 400, ["fan_out_type"]),
        ({"rollout": {"stages": [1, 100], "stage_ms": 60_000}}, 400, ["rollout"]),
        ({"to": {"push": "x"}}, 400, ["to"]),
    ],
)
def test_what_a_sender_may_not_send_and_what_nobody_may(more: dict[str, Any], status: int, paths: list[str]) -> None:
    refused = judged({**LIKE, **more})
    assert isinstance(refused, RefusedRequest)
    assert refused.status == status
    assert {error.path.partition(".")[0] for error in refused.errors} == set(paths)
    assert all(error.remedy for error in refused.errors)


def test_an_accepted_event_is_of_the_sender_of_the_credential_and_has_a_name() -> None:
    admitted = judged({**LIKE, "sender_id": "app"})
    assert isinstance(admitted, Admitted)
    event, check = admitted
    assert (event.event_id, event.sender_id, event.ingested_at) == ("new", "app", NOW)
    assert (check.given, check.keyed) == (False, False)
    named = judged({**LIKE, "event_id": "mine", "idempotency_key": "key"})
    assert isinstance(named, Admitted)
    assert (named[0].event_id, named[1].given, named[1].keyed) == ("mine", True, True)


def test_members_of_a_newer_version_are_passed_over_and_of_this_one_refused() -> None:
    assert isinstance(judged({**LIKE, "schema_version": 99, "unheard_of": 1}), Admitted)
    refused = judged({**LIKE, "unheard_of": 1})
    assert isinstance(refused, RefusedRequest)
    assert [error.path for error in refused.errors] == ["unheard_of"]


def test_an_address_of_a_code_is_one_that_a_provider_can_send_to() -> None:
    code = {"type": "otp", "target": "bob", "payload": {"code": "123456"}}
    sent = judged({**code, "to": {"email": "Ann@Bücher.EXAMPLE"}}, AUTH)
    assert isinstance(sent, Admitted)
    assert sent.event.to == {"email": "Ann@xn--bcher-kva.example"}
    refused = judged({**code, "to": {"sms": "12"}}, AUTH)
    assert isinstance(refused, RefusedRequest)
    assert [error.path for error in refused.errors] == ["to.sms"]


@pytest.mark.parametrize(
    ("document", "kind", "paths"),
    [
        ({"scope": "all"}, KillSwitch, []),
        ({"scope": "type"}, KillSwitch, ["value"]),
        ({"device_id": "d", "platform": "ios", "token": "not hex"}, NewDevice, ["token"]),
        ({"channel": "email", "address": "a@b.example"}, NewEndpoint, []),
        ({"channel": "email", "address": "nobody"}, NewEndpoint, ["address"]),
        ({"channel": "email", "address": "nobody", "state": "invalid"}, NewEndpoint, []),
    ],
)
def test_what_members_of_a_document_ask_of_each_other(document: Any, kind: Any, paths: list[str]) -> None:
    assert [error.path for error in RULES.document_errors(document, kind)] == paths


def test_names_in_preferences_that_nobody_registered_are_told_not_refused() -> None:
    document = {"types": {"like": {"enabled": False}, "lke": {"enabled": False}}, "unsubscribed": {"email": ["socal"]}}
    assert [each.path for each in RULES.preference_warnings(document)] == ["types.lke", "unsubscribed.email[0]"]
    many: Any = {"types": {f"t{number}": {} for number in range(WARNINGS_MAX + 1)}}
    assert len(RULES.preference_warnings(many)) == WARNINGS_MAX
