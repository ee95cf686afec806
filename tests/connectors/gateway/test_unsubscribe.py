"""Links to unsubscribe, on a real gateway process (RFC 8058)."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from helpers.callers import user_call
from helpers.forms import Page, opened, sent
from helpers.gateway import Gateway, Reply, running
from helpers.gateway_process import LINK_KEYS

from connectors.gateway.link_limits import PER_USER_PER_S
from flows.up.ports import any_port
from state.model.unsubscribe import LinkKeys, Unsubscription

KEYS = LinkKeys(LINK_KEYS)
FORM = {"content-type": "application/x-www-form-urlencoded"}
ONE_CLICK = b"List-Unsubscribe=One-Click"
MULTIPART = (
    b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n',
    {"content-type": "multipart/form-data; boundary=x"},
)


def link(user: str, *categories: str, keys: LinkKeys = KEYS) -> str:
    return "/v1/unsubscribe/" + keys.sign(Unsubscription(user, "email", categories or ("marketing",), 1))


def click(gateway: Gateway, path: str, body: bytes = ONE_CLICK, headers: dict[str, str] | None = None) -> Reply:
    return gateway.call("POST", path, body, key=None, headers=headers or FORM)


def document(gateway: Gateway, user: str) -> Any:
    return user_call(gateway, "GET", "/v1/preferences", user=user).json


def test_a_click_is_merged_into_the_document(gateway: Gateway) -> None:
    user = uuid4().hex
    before = {"master": True, "unsubscribed": {"email": ["social"], "push": ["marketing"]}}
    user_call(gateway, "PUT", "/v1/preferences", before, user=user)
    reply = click(gateway, link(user))
    assert reply.status == 200
    assert not {"set-cookie", "location"} & reply.headers.keys()
    lists = {"email": ["social", "marketing"], "push": ["marketing"]}
    assert document(gateway, user) == {"master": True, "unsubscribed": lists}
    (stored,) = [each for each in gateway.values("preferences") if each["user"] == user and "by_link" in each]
    assert stored["by_link"] == {"email": ["marketing"]}


@pytest.mark.parametrize(("body", "headers"), [MULTIPART, (ONE_CLICK, FORM), (b"", FORM)])
def test_every_form_of_a_click_acts_and_a_second_one_changes_nothing(
    gateway: Gateway, body: bytes, headers: dict[str, str]
) -> None:
    user = uuid4().hex
    first = click(gateway, link(user, "marketing", "social"), body, headers)
    second = click(gateway, link(user, "marketing", "social"), body, headers)
    assert (first.status, first.body) == (second.status, second.body)
    assert document(gateway, user) == {"unsubscribed": {"email": ["marketing", "social"]}}
    assert len([each for each in gateway.values("preferences") if each["user"] == user]) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_nothing_but_a_post_acts(gateway: Gateway, method: str) -> None:
    user = uuid4().hex
    reply = gateway.call(method, link(user), key=None)
    assert reply.status == (200 if method in ("GET", "HEAD") else 405)
    assert document(gateway, user) == {}


def test_the_page_has_a_button_and_neither_script_nor_anything_from_elsewhere(gateway: Gateway) -> None:
    reply = gateway.call("GET", link("ann", "<b>", "x & y"), key=None, headers={"accept-language": "fr-CH, en;q=0.8"})
    text = reply.body.decode()
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert '<html lang="fr" dir="ltr">' in text
    assert '<form method="post">' in text
    assert '<input type="hidden" name="List-Unsubscribe" value="One-Click">' in text
    assert "&lt;b&gt;, X &amp; y" in text
    assert not [word for word in ("<script", "http:", "https:", "<link", "<img", "ann") if word in text]
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "form-action 'self'; base-uri 'none'; frame-ancestors 'none'" in policy
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cache-control"] == "no-store"
    assert not {"set-cookie", "location"} & reply.headers.keys()
    assert gateway.call("HEAD", link("ann"), key=None).body == b""


def test_links_of_the_key_before_are_good_and_those_of_others_are_not(gateway: Gateway) -> None:
    user = uuid4().hex
    foreign = link(user, keys=LinkKeys([b"a key that is not the gateway's, for tests"]))
    token = link(user).rpartition("/")[2]
    for path in (foreign, link(user)[:-1], link(user) + "A", "/v1/unsubscribe/x", f"/v1/unsubscribe/{token[1:]}"):
        got, posted = gateway.call("GET", path, key=None), click(gateway, path)
        assert (got.status, posted.status) == (404, 404)
        assert got.body == posted.body
    assert document(gateway, user) == {}
    assert click(gateway, link(user, keys=LinkKeys(LINK_KEYS[1:]))).status == 200
    assert document(gateway, user) == {"unsubscribed": {"email": ["marketing"]}}


def test_a_click_needs_no_redis(tmp_path: Path) -> None:
    nobody = f"redis://127.0.0.1:{any_port('127.0.0.1')}/0"
    with running(tmp_path, redis=nobody) as alone:
        assert click(alone, link("ann")).status == 200
        assert document(alone, "ann") == {"unsubscribed": {"email": ["marketing"]}}


def test_a_token_opens_nothing_else(gateway: Gateway) -> None:
    token = link("anne").rpartition("/")[2]
    assert gateway.call("GET", "/v1/preferences", key=token).status == 401


def test_a_user_who_is_known_and_one_who_is_not_are_answered_alike(gateway: Gateway) -> None:
    known, unknown = uuid4().hex, uuid4().hex
    user_call(gateway, "PUT", "/v1/preferences", {"master": True}, user=known)
    links = [link(user) for user in (known, unknown)]
    answers = [click(gateway, path) for path in links]
    bodies = [answer.body.replace(path.encode(), b"") for answer, path in zip(answers, links, strict=True)]
    assert bodies[0] == bodies[1]
    assert answers[0].status == answers[1].status


def test_too_many_clicks_of_one_user_are_429(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        with ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(lambda _: click(gateway, link("ann")), range(10 * PER_USER_PER_S)))
        assert {reply.status for reply in replies} == {200, 429}
        assert all(int(reply.headers["retry-after"]) >= 1 for reply in replies if reply.status == 429)


def test_what_a_link_switched_off_stays_off_unless_a_write_says_so(gateway: Gateway) -> None:
    user = uuid4().hex
    off = {"unsubscribed": {"email": ["marketing"]}}

    def write(method: str, body: Any, **headers: str) -> Reply:
        return user_call(gateway, method, "/v1/preferences", body, user=user, **headers)

    old = write("PUT", {"master": True}).headers["etag"]
    click(gateway, link(user))
    assert write("PUT", {"master": True}, if_match=old).status == 412
    bodies: list[Any] = [{"master": True}, {"unsubscribed": {"email": []}}, {"unsubscribed": None}, {}]
    for body in bodies:
        reply = write("PUT", body)
        assert [warning["path"] for warning in reply.json["warnings"]] == ["unsubscribed.email"]
        assert document(gateway, user)["unsubscribed"] == off["unsubscribed"]
    write("PUT", {}, if_match="*")
    write("PATCH", {"master": False, "muted": None})
    write("PATCH", {"unsubscribed": {"push": ["social"]}})
    assert document(gateway, user)["unsubscribed"] == {"email": ["marketing"], "push": ["social"]}
    reply = write("PATCH", {"unsubscribed": {"email": None}})
    assert document(gateway, user)["unsubscribed"] == {"push": ["social"]}
    assert "warnings" not in reply.json
    click(gateway, link(user))
    present = user_call(gateway, "GET", "/v1/preferences", user=user).headers["etag"]
    assert "warnings" not in write("PUT", {"master": True}, if_match=present).json
    assert document(gateway, user) == {"master": True}
    assert write("PUT", {}).json == {}


def test_a_restart_and_a_lost_directory_remember_what_links_switched_off(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        click(gateway, link("ann"))
    for file in (tmp_path / "state" / "gateway").glob("directory.sqlite*"):
        file.unlink()
    with running(tmp_path) as gateway:
        user_call(gateway, "PUT", "/v1/preferences", {}, user="ann")
        assert document(gateway, "ann") == {"unsubscribed": {"email": ["marketing"]}}


SHOWN_LESS = {"type:mention": [""], "type:like": [""], "most": [""]}


def less(gateway: Gateway, path: str, **chosen: str) -> Page:
    page = opened(gateway, path)
    for name, value in chosen.items():
        page.put("most" if name == "most" else f"type:{name}", value)
    page.fields.pop("List-Unsubscribe")
    return sent(gateway, f"{path}/less", page)


def test_who_wants_less_and_not_nothing_chooses_on_the_page(gateway: Gateway) -> None:
    user = uuid4().hex
    path = link(user, "social")
    page = opened(gateway, path)
    assert "Or choose less" in page.texts
    assert SHOWN_LESS.items() <= page.fields.items()
    assert "type:newsletter" not in page.fields
    done = less(gateway, path, like="app", mention="without", reply="off", most="3")
    assert done.reply.status == 200
    lines = ["Likes: only in the app", "Replies: not at all", "Mentions: without E-mail"]
    assert [text for text in done.texts if text in lines] == lines
    assert "At most a day, of all kinds: 3" in done.texts
    assert re.search(r"This holds from \S+ \S+ \(UTC\) on", done.text)
    assert document(gateway, user) == {
        "types": {
            "like": {"channels": ["in_app"]},
            "reply": {"enabled": False},
            "mention": {"channels": ["push", "in_app"]},
        },
        "frequency_cap": {"max_per_day": 3},
    }


def test_less_is_never_more_and_tells_nothing(gateway: Gateway) -> None:
    user, other = uuid4().hex, uuid4().hex
    stored: dict[str, Any] = {
        "types": {"like": {"enabled": False, "channels": ["push"]}, "mention": {"channels": []}},
        "frequency_cap": {"max_per_day": 2, "max_per_hour": 1},
        "unsubscribed": {"email": ["social"]},
        "master": False,
    }
    user_call(gateway, "PUT", "/v1/preferences", stored, user=user)
    paths = [link(each, "social") for each in (user, other)]
    texts = [opened(gateway, path).text for path in paths]
    assert texts[0] == texts[1]
    assert less(gateway, paths[0], like="app", mention="without", most="10").reply.status == 200
    like = {"enabled": False, "channels": []}
    assert document(gateway, user) == {**stored, "types": {**stored["types"], "like": like}}


def test_less_takes_what_the_page_offers_and_nothing_else(gateway: Gateway) -> None:
    for body in (b"", b"type%3Aotp=off&most=7", b"type%3Anewsletter=off", b"type%3Alike=x", b"master=", b"most=0"):
        user = uuid4().hex
        reply = click(gateway, f"{link(user, 'social', 'security')}/less", body)
        assert reply.status == 200
        assert b"Or choose less" in reply.body
        assert document(gateway, user) == {}
    path = link(uuid4().hex, "social")
    assert click(gateway, f"{path}A/less", b"most=1").status == 404
    assert click(gateway, f"{path}/less", b"{}", {"content-type": "application/json"}).status == 415


def test_after_unsubscribing_less_of_the_rest_may_be_chosen_and_what_is_off_stays_off(gateway: Gateway) -> None:
    user = uuid4().hex
    path = link(user, "marketing")
    done = Page(click(gateway, path))
    assert "Choose less of the rest, too" in done.texts
    assert sent(gateway, f"{path}/less", done.put("type:promotion", "off")).reply.status == 200
    off = {"unsubscribed": {"email": ["marketing"]}, "types": {"promotion": {"enabled": False}}}
    assert document(gateway, user) == off
    assert user_call(gateway, "PUT", "/v1/preferences", {}, user=user).json["unsubscribed"] == off["unsubscribed"]
