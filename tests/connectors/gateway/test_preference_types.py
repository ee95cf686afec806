"""What a user may choose, as the JSON API tells it: the same as the page shows."""

from __future__ import annotations

from uuid import uuid4

from helpers.callers import user_call
from helpers.forms import opened
from helpers.gateway import Gateway

PATH = "/v1/preferences/types"


def test_the_types_are_those_of_the_page(gateway: Gateway) -> None:
    user = uuid4().hex
    document = {"types": {"campaign_spring": {"enabled": True}, "unknown": {"enabled": True}}}
    user_call(gateway, "PUT", "/v1/preferences", document, user=user)
    told = user_call(gateway, "GET", PATH, user=user).json
    page = opened(gateway, user_call(gateway, "POST", "/v1/preferences/link", {}, user=user).json["url"])
    free = [each for each in told["types"] if not each["mandatory"]]
    assert {f"on:{each['name']}" for each in free} == {name for name in page.fields if name.startswith("on:")}
    boxes = {(name, value) for name, value in page.boxes if name.startswith("by:")}
    assert {(f"by:{each['name']}", channel) for each in free for channel in each["channels"]} == boxes
    on = {each["name"] for each in free if each["enabled"]} | {"campaign_spring"}
    assert {f"on:{name}" for name in on} == {name for name, sent in page.fields.items() if name[:3] == "on:" and sent}
    assert "otp" in {each["name"] for each in told["types"] if each["mandatory"]}
    assert {each["title"] for each in told["types"]} <= set(page.texts)
    assert {told["texts"]["save"], *told["categories"].values()} <= set(page.texts)


def test_it_speaks_the_language_that_is_asked_for(gateway: Gateway) -> None:
    def likes(path: str, **headers: str) -> tuple[str, str]:
        told = user_call(gateway, "GET", path, **headers).json
        (title,) = [each["title"] for each in told["types"] if each["name"] == "like"]
        return told["language"], title

    assert likes(f"{PATH}?locale=de-AT", accept_language="fr") == ("de", "Gefällt mir")
    assert likes(PATH, accept_language="fr") == ("fr", "Mentions J'aime")
    assert likes(f"{PATH}?locale=ar-EG") == ("ar", "الإعجابات")
    assert likes(f"{PATH}?locale=sv") == ("en", "Likes")
    assert gateway.get(PATH).status == 403
    assert user_call(gateway, "GET", f"{PATH}?x=1").status == 400
