"""Sign-in by a real OpenID provider, which is no code of ours, on loopback."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import jwt
import msgspec
import pytest
from helpers.console import Browser
from helpers.gateway import Gateway, running
from helpers.waiting import WITHIN_S, wait_for

from infra.services import free_port

PEOPLE: dict[str, dict[str, Any]] = {
    "ada": {"email": "ada@firm.example", "roles": ["staff", "oncall"]},
    "bea": {"email": "bea@firm.example", "roles": "helpdesk"},
    "cem": {"email": "cem@firm.example", "roles": ["staff", "admin"]},
    "dan": {"roles": ["helpdesk", "root"]},
    "max": {"roles": ["oncall"]},
    "eve": {"email": "eve@firm.example", "roles": 7},
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    port = free_port()
    users = [f"--user-claims={msgspec.json.encode({'sub': sub, **claims}).decode()}" for sub, claims in PEOPLE.items()]
    program = Path(sys.executable).with_name("oidc-provider-mock")
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [str(program), "--port", str(port), "--require-nonce", "true", *users]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=quiet)
    try:
        wait_for(lambda: _asked(port) == 200, what="the provider")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _asked(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/.well-known/openid-configuration")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@pytest.fixture(scope="module")
def console(issuer: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    openid = {
        "issuer": issuer,
        "client_id": "carillon",
        "client_secret": "s",
        "roles": {"helpdesk": "support", "oncall": "ops", "root": "admin"},
    }
    with running(tmp_path_factory.mktemp("openid"), openid=openid) as gateway:
        yield gateway


def provider_signs_in(url: str, sub: str) -> str:
    """What a person does at the provider; gives the address that his browser is sent back to."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    path = f"{parts.path}?{parts.query}"
    connection.request("POST", path, urlencode({"sub": sub}), {"content-type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    answer.read()
    assert answer.status in (302, 303), answer.status
    connection.close()
    return answer.headers["location"]


def begun(gateway: Gateway, onward: str = "/console/audit") -> tuple[Browser, str]:
    browser = Browser(gateway)
    offered = browser.get(f"/console/sign-in?{urlencode({'next': onward})}").text
    assert 'name="key"' not in offered, "no keys where people have accounts"
    start = re.search(r'class="button" href="([^"]+)"', offered)
    assert start is not None
    sent = browser.get(start[1].replace("&amp;", "&"))
    assert sent.status == 303
    return browser, sent.headers["location"]


def come_back(browser: Browser, address: str) -> tuple[int, str]:
    parts = urlsplit(address)
    seen = browser.get(f"{parts.path}?{parts.query}")
    return seen.status, seen.words


def test_a_person_signs_in_with_his_account_and_his_name_is_in_the_audit(console: Gateway) -> None:
    browser, url = begun(console)
    assert "code_challenge_method=S256" in url
    status, words = come_back(browser, provider_signs_in(url, "ada"))
    assert (status, "You are signed in" in words) == (200, True)
    assert "ada@firm.example" in browser.get("/console").words
    assert browser.get("/console/people").status == 403
    act = console.values("audit")[-1]
    assert (act["by"], act["role"], act["act"]) == ("ada@firm.example", "ops", "sign_in")


@pytest.mark.parametrize(("sub", "name", "page"), [("bea", "bea@firm.example", "people"), ("dan", "dan", "audit")])
def test_the_role_is_that_of_the_claim(console: Gateway, sub: str, name: str, page: str) -> None:
    browser, url = begun(console)
    assert come_back(browser, provider_signs_in(url, sub))[0] == 200
    seen = browser.get(f"/console/{page}")
    assert (seen.status, name in seen.words) == (200, True)


@pytest.mark.parametrize("sub", ["cem", "eve"])
def test_who_has_no_role_stays_outside(console: Gateway, sub: str) -> None:
    """Also who has a group that only is called like a role."""
    browser, url = begun(console)
    status, words = come_back(browser, provider_signs_in(url, sub))
    assert (status, "no role here" in words) == (403, True)
    assert browser.get("/console").status == 303


def test_an_answer_is_good_for_the_browser_that_asked_and_once(console: Gateway) -> None:
    browser, url = begun(console)
    address = provider_signs_in(url, "ada")
    stranger, _ = begun(console)
    assert come_back(stranger, address)[0] == 400, "the answer of another browser's question"
    assert come_back(stranger, re.sub(r"state=[^&]+", "state=%C3%A9", address))[0] == 400
    assert come_back(Browser(console), address)[0] == 400
    assert come_back(browser, re.sub(r"code=[^&]+", "code=forged", address))[0] == 401
    kept = browser.cookie
    assert come_back(browser, address)[0] == 200
    browser.cookie = kept
    assert come_back(browser, address)[0] == 401, "a code is good once"


def test_sessions_of_keys_end_where_people_get_accounts(console: Gateway, tmp_path: Path) -> None:
    with running(tmp_path) as before:
        by_key = Browser(before)
        assert by_key.sign_in("key-ops").status == 303
    openid = {"issuer": "http://127.0.0.1:1", "client_id": "carillon", "client_secret": "s"}
    with running(tmp_path, openid=openid) as after:
        by_key.gateway = after
        assert by_key.get("/console").status == 303


def test_a_session_that_does_not_say_whose_account_it_is_signs_in_again(console: Gateway) -> None:
    browser, url = begun(console)
    come_back(browser, provider_signs_in(url, "ada"))
    assert browser.get("/console").status == 200
    name, _, value = browser.cookie.partition("=")
    claims = jwt.decode(value, options={"verify_signature": False})
    (secret,) = console.directory.rglob("console.key")
    browser.cookie = f"{name}={jwt.encode(claims, secret.read_bytes(), 'HS256')}"
    assert browser.get("/console").status == 200
    del claims["account"]
    browser.cookie = f"{name}={jwt.encode(claims, secret.read_bytes(), 'HS256')}"
    assert browser.get("/console").status == 303


def test_a_person_whose_access_is_revoked_is_outside_at_once(console: Gateway) -> None:
    """Somebody who left; no configuration names him."""
    people = {}
    for name in ("ada", "max"):
        people[name], url = begun(console)
        come_back(people[name], provider_signs_in(url, name))
    form = {"scope": "key", "value": "ada@firm.example", "reason": "left us"}
    page = "/console/switches"
    assert people["max"].submit(page, page, form).headers["location"] == page
    over_s = wait_for(lambda: people["ada"].get("/console").status == 303, what="her session is over")
    again, url = begun(console)
    status, words = come_back(again, provider_signs_in(url, "ada"))
    assert (status, "revoked" in words) == (403, True)
    assert people["max"].submit(page, page, {**form, "act": "lift"}).headers["location"] == page
    lifted_s = wait_for(lambda: people["ada"].get("/console").status == 200, what="it is lifted")
    assert min(over_s, lifted_s) < WITHIN_S


def test_a_key_opens_nothing_where_people_have_accounts(console: Gateway) -> None:
    browser = Browser(console)
    assert browser.sign_in("key-ops").status == 403
    assert browser.get("/console").status == 303


def test_two_accounts_are_two_people_and_a_key_is_none(console: Gateway) -> None:
    people = {}
    for name in ("ada", "ada again", "max"):
        people[name], url = begun(console)
        come_back(people[name], provider_signs_in(url, name.partition(" ")[0]))
    page = "/console/approvals"
    form = {"scope": "type", "value": "otp", "reason": "drill"}
    assert people["ada"].submit("/console/switches", "/console/switches", form).headers["location"] == page
    name = people["ada"].get(page).text.partition('name="approval" value="')[2].partition('"')[0]
    confirm = {"approval": name, "act": "confirm"}
    for same in ("ada", "ada again"):
        assert people[same].submit(page, page, confirm).status == 403
    for path, body in (("/v1/ops/kill", form), (f"/v1/approvals/{name}", {"decision": "confirm"})):
        by_key = console.call("POST", path, body, key="key-ops")
        assert by_key.status == 403
        assert "a key is no person" in by_key.json["detail"]
    assert people["max"].submit(page, page, confirm).status == 303
    steps = [(act.get("step"), act["by"], act.get("subject")) for act in console.values("audit")[-3:]]
    assert steps == [
        ("proposed", "ada@firm.example", "account ada"), ("confirmed", "max", "account max"),
        (None, "ada@firm.example", None),
    ]  # fmt: skip


def test_a_key_approves_no_campaign_where_people_have_accounts(console: Gateway) -> None:
    browser, url = begun(console)
    come_back(browser, provider_signs_in(url, "dan"))
    page, csv = "/console/campaigns", {"content-type": "text/csv"}
    draft = {"name": "sale", "type": "newsletter", "title": "Sale", "body": "Now"}
    assert browser.submit(page, f"{page}/new", draft).status == 303
    stored = console.call("PUT", "/v1/campaigns/sale/audience", b"user\nann\n", key="key-marketing", headers=csv)
    seen = stored.json["revision"]
    by_key = console.call("POST", "/v1/campaigns/sale/approve", {"revision": seen}, key="key-admin")
    assert by_key.status == 403
    assert "a key is no person" in by_key.json["detail"]
    approved = browser.submit(
        f"{page}?name=sale", page, {"name": "sale", "act": "approve", "revision": str(seen), "reason": "read"}
    )
    assert approved.status == 303
    acts = [act for act in console.values("campaigns") if act.get("campaign") == "sale" and "verb" in act]
    assert [(act["verb"], act["subject"]) for act in acts] == [
        ("create", "account dan"), ("audience", "key marketing"), ("approve", "account dan"),
    ]  # fmt: skip


def test_a_provider_that_is_away_is_said_so(tmp_path: Path) -> None:
    openid = {"issuer": f"http://127.0.0.1:{free_port()}", "client_id": "carillon", "client_secret": "s"}
    with running(tmp_path, openid=openid) as gateway:
        seen = Browser(gateway).get("/console/openid?next=/console")
        assert (seen.status, "does not answer" in seen.words) == (503, True)
