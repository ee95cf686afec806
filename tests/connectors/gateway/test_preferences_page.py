"""The page of preferences on a real gateway: what is chosen there is in the document, and nothing else changes."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from helpers.callers import user_call
from helpers.forms import opened, sent
from helpers.gateway import Gateway, now_ms
from helpers.gateway_process import LINK_KEYS

from connectors.gateway.link_limits import PER_USER_PER_S
from state.model.page_link import PageKeys, PageLink
from state.model.unsubscribe import LinkKeys, Unsubscription

KEYS = PageKeys(LINK_KEYS)
MINUTE_MS = 60_000
EVERYTHING: dict[str, Any] = {
    "master": True,
    "quiet_hours": {"enabled": True, "start": "23:00", "end": "07:30", "timezone": "Asia/Tokyo"},
    "frequency_cap": {"max_per_hour": 3, "max_per_day": 7},
    "types": {
        "like": {"enabled": False, "channels": ["push"]},
        "comment": {"channels": ["in_app", "push"]},
        "campaign_spring": {"enabled": True},
        "of another registry": {"enabled": False, "channels": ["webhook"]},
        "otp": {"enabled": False},
    },
    "unsubscribed": {"email": ["marketing", "a category of another registry"], "webhook": ["social"]},
    "muted": {"actors": ["bob", "eve <b>"], "objects": ["thread 9"]},
}


def link(user: str, *, ends_in_ms: int = MINUTE_MS, keys: PageKeys = KEYS, language: str = "") -> str:
    return "/preferences/" + keys.sign(PageLink(user, language, now_ms() + ends_in_ms))


def document(gateway: Gateway, user: str) -> Any:
    return user_call(gateway, "GET", "/v1/preferences", user=user).json


def stored(gateway: Gateway, what: Any) -> tuple[str, str]:
    """A new user who has this document, and the link of his page."""
    user = uuid4().hex
    assert user_call(gateway, "PUT", "/v1/preferences", what, user=user).status == 200
    return user, link(user)


@pytest.mark.parametrize("what", [{}, EVERYTHING])
def test_a_page_that_is_sent_untouched_changes_nothing(gateway: Gateway, what: Any) -> None:
    user, path = stored(gateway, what)
    page = sent(gateway, path, opened(gateway, path))
    assert page.reply.status == 200
    assert "Nothing was changed." in page.texts
    assert document(gateway, user) == what
    assert len([each for each in gateway.values("preferences") if each["user"] == user]) == 1


def test_the_page_shows_what_is_stored(gateway: Gateway) -> None:
    _, path = stored(gateway, EVERYTHING)
    fields = opened(gateway, path).fields
    assert (fields["master"], fields["on:mention"]) == (["1"], ["1"])
    assert (fields["on:like"], fields["on:newsletter"]) == ([], [])
    assert (fields["by:like"], fields["by:comment"]) == (["push"], ["push", "in_app"])
    assert (fields["may:marketing"], fields["may:social"]) == (["push"], ["push", "in_app", "email"])
    assert [fields[name] for name in ("start", "end", "zone")] == [["23:00"], ["07:30"], ["Asia/Tokyo"]]
    assert [fields[name] for name in ("max_per_hour", "max_per_day")] == [["3"], ["7"]]
    assert "on:campaign_spring" in fields
    assert not [name for name in fields if "otp" in name or "another" in name]


def test_what_the_page_does_not_show_is_never_lost(gateway: Gateway) -> None:
    user, path = stored(gateway, EVERYTHING)
    page = opened(gateway, path).untick("on:mention").tick("by:comment", "email").tick("may:marketing", "email")
    page.tick("unmute:actors", "eve <b>").put("max_per_day", "").put("zone", "Europe/Paris").untick("quiet")
    assert sent(gateway, path, page).reply.status == 200
    expected = {
        **EVERYTHING,
        "quiet_hours": {**EVERYTHING["quiet_hours"], "enabled": False, "timezone": "Europe/Paris"},
        "frequency_cap": {"max_per_hour": 3},
        "types": {
            **EVERYTHING["types"],
            "mention": {"enabled": False},
            "comment": {"channels": ["in_app", "push", "email"]},
        },
        "unsubscribed": {"email": ["a category of another registry"], "webhook": ["social"]},
        "muted": {"actors": ["bob"], "objects": ["thread 9"]},
    }
    assert document(gateway, user) == expected


def test_a_way_that_is_chosen_again_has_its_old_place(gateway: Gateway) -> None:
    user, path = stored(gateway, {})
    sent(gateway, path, opened(gateway, path).untick("by:comment", "push"))
    assert document(gateway, user) == {"types": {"comment": {"channels": ["in_app", "email"]}}}
    sent(gateway, path, opened(gateway, path).tick("by:comment", "push"))
    assert document(gateway, user) == {"types": {"comment": {}}}


def test_what_was_switched_off_is_confirmed_with_the_moment_from_which_it_binds(gateway: Gateway) -> None:
    _, path = stored(gateway, {"quiet_hours": {"timezone": "Asia/Tokyo"}})
    page = opened(gateway, path).untick("on:like").untick("may:social", "email").tick("on:newsletter")
    before_s = time.time()
    done = sent(gateway, path, page)
    after_s = time.time()
    off, on = done.text.partition("Switched off:")[2].split("Switched on:")
    assert off.split("\n")[1:3] == ["People, all of this kind: E-mail", "Likes"]
    assert on.split("\n")[1] == "Newsletter"
    found = re.search(r"This holds from (\S+ \S+) \(Asia/Tokyo\) on", done.text)
    assert found
    said_s = time.mktime((*time.strptime(found[1], "%Y-%m-%d %H:%M:%S")[:8], 0)) - time.timezone - 9 * 3600
    assert before_s <= said_s <= after_s + 1
    assert done.reply.status == 200
    assert "Likes" not in sent(gateway, path, opened(gateway, path)).text.partition("Notifications\n")[0]


def test_a_change_elsewhere_in_the_meantime_is_not_overwritten(gateway: Gateway) -> None:
    user, path = stored(gateway, {})
    page = opened(gateway, path).untick("on:like")
    user_call(gateway, "PATCH", "/v1/preferences", {"master": False}, user=user)
    again = sent(gateway, path, page)
    assert again.reply.status == 412
    assert "changed elsewhere" in again.text
    assert (again.fields["master"], again.fields["on:like"]) == ([], ["1"])
    assert document(gateway, user) == {"master": False}
    assert sent(gateway, path, again.untick("on:like")).reply.status == 200
    assert document(gateway, user) == {"master": False, "types": {"like": {"enabled": False}}}


def test_a_link_in_a_mail_counts_against_a_page_that_was_open_and_for_one_that_shows_it(gateway: Gateway) -> None:
    user, path = stored(gateway, {})
    page = opened(gateway, path).tick("on:newsletter")
    token = LinkKeys(LINK_KEYS).sign(Unsubscription(user, "email", ("marketing",), 1))
    gateway.call("POST", f"/v1/unsubscribe/{token}", b"", key=None, headers={"content-type": "multipart/form-data"})
    again = sent(gateway, path, page)
    assert again.reply.status == 412
    assert again.fields["may:marketing"] == ["push"]
    assert sent(gateway, path, again.tick("may:marketing", "email")).reply.status == 200
    assert document(gateway, user) == {"unsubscribed": {}}
    assert user_call(gateway, "PUT", "/v1/preferences", {}, user=user).json == {}


def test_of_parallel_saves_of_one_page_one_is_stored(gateway: Gateway) -> None:
    user, path = stored(gateway, {})
    names = ["like", "mention", "reply", "share"]
    pages = [opened(gateway, path).untick(f"on:{name}") for name in names]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda page: sent(gateway, path, page), pages))
    assert sorted(page.reply.status for page in done) == [200, 412, 412, 412]
    (winner,) = [name for name, page in zip(names, done, strict=True) if page.reply.status == 200]
    assert document(gateway, user) == {"types": {winner: {"enabled": False}}}


@pytest.mark.parametrize(
    ("change", "wrong", "text"),
    [
        (lambda page: page.put("start", "25:00"), "start", "such as 22:00"),
        (lambda page: page.put("end", ""), "end", "such as 22:00"),
        (lambda page: page.put("max_per_day", "-1"), "max_per_day", "from 0 up"),
        (lambda page: page.put("max_per_hour", "many"), "max_per_hour", "from 0 up"),
        (lambda page: page.put("max_per_hour", "9" * 400), "max_per_hour", "from 0 up"),
        (lambda page: page.put("zone", "Mars/Base"), "zone", "Choose one of the list"),
        (lambda page: page.untick("by:like", "push").untick("by:like", "in_app"), "on:like", "switch it off"),
    ],
)
def test_each_wrong_field_is_named_with_the_remedy_and_every_choice_is_kept(
    gateway: Gateway, change: Any, wrong: str, text: str
) -> None:
    user, path = stored(gateway, {})
    page = opened(gateway, path).untick("on:mention")
    change(page)
    refused = sent(gateway, path, page)
    assert (refused.reply.status, refused.wrong) == (400, {wrong})
    assert text in refused.text
    assert refused.fields["on:mention"] == []
    assert refused.fields[wrong] == page.fields[wrong]
    assert document(gateway, user) == {}


def test_devices_are_listed_and_removed(gateway: Gateway) -> None:
    user, path = stored(gateway, {})
    token = f"{int(uuid4()):064x}"
    user_call(
        gateway, "POST", "/v1/devices/register", {"device_id": "my phone", "platform": "ios", "token": token}, user=user
    )
    gateway.call("PUT", f"/v1/users/{user}/endpoints/email/home", {"address": "ann@example.com"})
    page = opened(gateway, path)
    assert [text for text in page.texts if "·" in text] == ["Push · ios · my phone,", "E-mail · home,"]
    assert "ann@" not in page.text
    done = sent(gateway, path, page.tick("forget", "my phone"))
    assert ("Removed:\nmy phone" in done.text, done.reply.status) == (True, 200)
    listed = user_call(gateway, "GET", "/v1/devices", user=user).json["endpoints"]
    assert [(each["channel"], each["id"]) for each in listed] == [("email", "home")]
    assert sent(gateway, path, page).reply.status == 200  # from another window: it is gone already


def test_mandatory_types_have_no_switch_and_a_forged_one_does_nothing(gateway: Gateway) -> None:
    user, path = stored(gateway, {})
    page = opened(gateway, path)
    assert "Always on, because it protects your account:\nVerification codes" in page.text
    page.fields["type"].append("push,sms otp")
    assert sent(gateway, path, page).reply.status == 200
    assert document(gateway, user) == {}


@pytest.mark.parametrize(
    ("language", "accept", "title"),
    [
        ("", "fr-CH, en;q=0.8", "Réglages des notifications"),
        ("de-AT", "fr", "Benachrichtigungen einstellen"),
        ("sv", "de", "Benachrichtigungen einstellen"),
        ("", "sv", "Notification settings"),
    ],
)
def test_the_page_speaks_the_language_of_the_link_or_of_the_browser(
    gateway: Gateway, language: str, accept: str, title: str
) -> None:
    page = opened(gateway, link("ann", language=language), accept_language=accept)
    assert page.texts[0] == title


def test_nothing_but_a_link_of_ours_opens_it_and_only_until_its_end(gateway: Gateway) -> None:
    user, path = stored(gateway, {"master": False})
    page = opened(gateway, path)
    token = path.rpartition("/")[2]
    foreign = PageKeys([b"a key that is not the gateway's, for tests"])
    unsubscribe = LinkKeys(LINK_KEYS).sign(Unsubscription(user, "", (), now_ms() + MINUTE_MS))
    over = link(user, ends_in_ms=-1)
    for wrong in (
        link(user, keys=foreign),
        over,
        path[:-1],
        f"{path}A",
        "/preferences/x",
        f"/preferences/{unsubscribe}",
    ):
        got, posted = opened(gateway, wrong), sent(gateway, wrong, page)
        assert (got.reply.status, posted.reply.status) == (404, 404)
        assert "no longer valid" in got.text
        assert ("Nothing was stored." in got.text, "Nothing was stored." in posted.text) == (False, True)
        assert not got.fields
    assert gateway.call("GET", f"/v1/unsubscribe/{token}", key=None).status == 404
    assert user_call(gateway, "GET", "/v1/preferences", user=user).json == {"master": False}
    for key in (token, None):
        assert gateway.call("GET", "/v1/preferences", key=key).status == 401
    assert opened(gateway, link(user, keys=PageKeys(LINK_KEYS[1:]))).reply.status == 200


def test_the_host_and_the_user_make_links_and_nobody_else(gateway: Gateway) -> None:
    user, _ = stored(gateway, {"master": False})
    begin = now_ms()
    made = gateway.call("POST", f"/v1/users/{user}/preferences-link", {"lifetime_s": 90, "locale": "de"})
    assert begin + 90_000 <= made.json["ends_at"] <= now_ms() + 90_000
    page = opened(gateway, made.json["url"])
    assert (page.texts[0], page.fields["master"]) == ("Benachrichtigungen einstellen", [])
    arabic = gateway.call("POST", f"/v1/users/{user}/preferences-link", {"locale": "ar-EG"})
    assert b'<html lang="ar" dir="rtl">' in opened(gateway, arabic.json["url"]).reply.body
    assert gateway.call("POST", f"/v1/users/{user}/preferences-link").json["ends_at"] >= begin + 3_600_000
    own = user_call(gateway, "POST", "/v1/preferences/link", {}, user=user)
    assert begin + 900_000 <= own.json["ends_at"] <= now_ms() + 900_000
    assert opened(gateway, own.json["url"]).fields["master"] == []
    for key in ("key-ops", "key-support", "key-p0"):
        assert gateway.call("POST", f"/v1/users/{user}/preferences-link", {}, key=key).status == 403
    assert user_call(gateway, "POST", f"/v1/users/{user}/preferences-link", {}, user=user).status == 403
    for body, path in (({"lifetime_s": 59}, "lifetime_s"), ({"lifetime_s": 2_592_001}, "lifetime_s"), ({"x": 1}, "x")):
        reply = gateway.call("POST", f"/v1/users/{user}/preferences-link", body)
        assert (reply.status, reply.paths) == (400, {path})
    assert user_call(gateway, "POST", "/v1/preferences/link", {"lifetime_s": 90}, user=user).paths == {"lifetime_s"}


def test_the_page_takes_nothing_from_elsewhere_keeps_nothing_and_tells_nobody(gateway: Gateway) -> None:
    reply = opened(gateway, link("ann")).reply
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'" in policy
    assert (reply.headers["referrer-policy"], reply.headers["cache-control"]) == ("no-referrer", "no-store")
    assert not {"set-cookie", "location"} & reply.headers.keys()
    html = reply.body.decode()
    assert re.findall(r"<script[^>]*>", html) == ['<script src="/preferences/zone.js" defer>']
    assert not re.search(r"https?:|\son\w+=|<link|<img| style=", html)
    script = gateway.call("GET", "/preferences/zone.js", key=None)
    assert (script.status, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")


def test_a_users_changes_are_limited(gateway: Gateway) -> None:
    _, path = stored(gateway, {})
    page = opened(gateway, path)
    with ThreadPoolExecutor(8) as pool:
        replies = [each.reply for each in pool.map(lambda _: sent(gateway, path, page), range(PER_USER_PER_S * 3))]
    assert {reply.status for reply in replies} == {200, 429}


def test_what_does_not_fit_a_form_is_refused(gateway: Gateway) -> None:
    user, path = stored(gateway, {})
    form = {"content-type": "application/x-www-form-urlencoded"}
    for body in (b"&".join([b"a=1"] * 10_001), b"\xff\xfe%ff=%00&version=*", b"", b"version=*", b'version="0"'):
        reply = gateway.call("POST", path, body, key=None, headers=form)
        assert reply.status in (400, 412)
    assert gateway.call("POST", path, b"{}", key=None).status == 415
    assert document(gateway, user) == {}


def test_a_log_that_does_not_answer_keeps_the_choices_and_is_said(gateway: Gateway) -> None:
    user, path = stored(gateway, {})
    page = opened(gateway, path).untick("on:like")
    with gateway.fault("refuse_preferences"):
        failed = sent(gateway, path, page)
    assert (failed.reply.status, failed.fields["on:like"]) == (503, [])
    assert "we do not know whether this was stored" in failed.text
    assert int(failed.reply.headers["retry-after"]) >= 1
    assert sent(gateway, path, failed).reply.status == 200
    assert document(gateway, user) == {"types": {"like": {"enabled": False}}}
