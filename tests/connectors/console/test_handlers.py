"""The console on a real gateway with a small ledger: who sees what, and what a form brings about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from importlib.metadata import version
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from helpers.console import Browser, Seen, signed_in
from helpers.gateway import Gateway, running
from helpers.healthy_ledger import MIA, healthy
from helpers.letters import letter
from helpers.records import decision
from helpers.waiting import wait_for

from connectors.console.campaigns import CampaignPages
from connectors.console.figures import Counted
from connectors.console.handlers import Console
from connectors.console.pages import NOWHERE
from connectors.console.routes import console_pages
from connectors.console.texts import TextPages
from connectors.console.types import TypePages

PAGES = {
    "/console": {"ops", "support", "marketing", "admin"},
    "/console/senders": {"ops", "support", "marketing", "admin"},
    "/console/types": {"ops", "support", "marketing", "admin"},
    "/console/events": {"ops", "support", "admin"},
    "/console/events?event=e2": {"ops", "support", "admin"},
    f"/console/people?user={MIA}&reason=ticket": {"support", "admin"},
    f"/console/explain?user={MIA}&event=e2&reason=ticket": {"support", "admin"},
    "/console/templates": {"marketing", "admin"},
    "/console/templates?type=like&locale=pt": {"marketing", "admin"},
    "/console/campaigns": {"marketing", "admin"},
    "/console/campaigns/bad-rows?name=sale": {"marketing", "admin"},
    "/console/letters": {"ops", "admin"},
    "/console/switches": {"ops", "admin"},
    "/console/approvals": {"ops", "admin"},
    "/console/audit": {"ops", "admin"},
}
FORMS = {
    "/console/templates": {"marketing", "admin"},
    "/console/campaigns": {"marketing", "admin"},
    "/console/campaigns/edit": {"marketing", "admin"},
    "/console/campaigns/new": {"marketing", "admin"},
    "/console/campaigns/audience": {"marketing", "admin"},
    "/console/campaigns/slot": {"marketing", "admin"},
    "/console/campaigns/test": {"marketing", "admin"},
    "/console/senders": {"ops", "support", "marketing", "admin"},
    "/console/types": {"ops", "admin"},
    "/console/letters": {"ops", "admin"},
    "/console/switches": {"ops", "admin"},
    "/console/approvals": {"ops", "admin"},
    "/console/sign-out": {"ops", "support", "marketing", "admin"},
}
_CAMPAIGN_FORMS = {path for path in FORMS if path.startswith("/console/campaigns/")}


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("console")) as gateway:
        gateway.log.append(healthy())
        campaign = {"name": "sale", "type": "newsletter"}
        assert gateway.call("POST", "/v1/campaigns", campaign, key="key-marketing").status == 201
        yield gateway


@pytest.mark.parametrize("role", ["ops", "support", "marketing", "admin"])
def test_every_page_is_for_some_and_says_so_to_the_others(console: Gateway, role: str) -> None:
    browser = signed_in(console, role)
    for path, roles in PAGES.items():
        seen = browser.get(path)
        assert seen.status == (200 if role in roles else 403), path
        assert role in roles or f"not for the role {role}" in seen.words
        assert "script-src 'self'" in seen.headers["content-security-policy"]
        assert "style=" not in seen.text
        assert "<script>" not in seen.text
    for path, roles in FORMS.items():
        seen = browser.send(path, {})
        assert seen.status == 403, "the form bears no token"
        assert ("form is not of this session" in seen.words) == (role in roles), path
        assert role in roles or f"not for the role {role}" in seen.words


def test_marketing_sees_no_number_below_ten(console: Gateway) -> None:
    event = {"type": "like", "actor": "bob", "target": "ann", "object": "thread"}
    assert console.post({**event, "event_id": "few"}).status == 202
    ops, marketing = signed_in(console, "ops"), signed_in(console, "marketing")
    wait_for(lambda: re.search(r"ordinary new \S+ 1\b", ops.get("/console").words))
    assert "ordinary new … fewer than 10" in marketing.get("/console").words


def test_marketing_cannot_divide_or_multiply_its_way_to_a_small_number(console: Gateway) -> None:
    assert Counted("", 1239, 5, 50).per_s(0) == 0.1
    assert Counted("", 1239, 5, 50).per_s(10) is None, "times the minute it would say five"
    assert Counted("", 1239, 19, 50).per_s(10) == 0.2
    metrics = console.directory / "run" / "metrics" / "few.prom"
    metrics.parent.mkdir(parents=True, exist_ok=True)
    lines = ["# TYPE carillon_deliveries_total counter"]
    lines += ['carillon_deliveries_total{channel="chat",outcome="DELIVERED"} 1239']
    lines += ["# TYPE carillon_p0_accepted_to_provider_seconds histogram"]
    ends = ("0.01", 3), ("0.5", 14), ("+Inf", 14)
    lines += [f'carillon_p0_accepted_to_provider_seconds_bucket{{le="{end}"}} {count}' for end, count in ends]
    metrics.write_text("\n".join([*lines, ""]))
    ops, marketing = signed_in(console, "ops"), signed_in(console, "marketing")
    wait_for(lambda: re.search(r"chat DELIVERED \S+ 1 239", ops.get("/console").words))
    assert 'class="bars"' in ops.get("/console").text
    seen = marketing.get("/console")
    assert re.search(r"chat DELIVERED \S+ 1 230", seen.words)
    assert 'class="bars"' not in seen.text, "3 of 14 are a share of few"
    assert "provider's answer, 10 since the start" in seen.words
    metrics.unlink()


def test_senders_have_what_they_posted_and_what_became_of_it(console: Gateway) -> None:
    event = {"type": "like", "actor": "bob", "target": "ann", "object": "thread"}
    while [console.post(event, key="key-slow").status for _ in range(7)].count(429) == 0:
        pass  # until six fall into one second, on a busy machine too
    assert console.post({"type": "like"}, key="key-likes").status == 400
    assert console.post({**event, "type": "comment"}, key="key-likes").status == 403
    for _ in range(2):
        console.post({**event, "event_id": "once"}, key="key-likes")
    batch = [{**event, "object": f"o{number}"} for number in range(12)]
    assert console.call("POST", "/v1/notifications/batch", batch, key="key-likes").status == 200
    console.log.append([letter("likes", 901, "failed"), letter("likes", 902, "failed"), letter("other", 903, "failed")])
    ops, marketing = signed_in(console, "ops"), signed_in(console, "marketing")

    def row(browser: Browser, sender: str) -> str:
        words = browser.get("/console/senders").words
        found = re.search(rf"\b{sender} P1.*? 99 of 100 \d+ ", words)
        return "" if found is None else found[0]

    counted = re.compile(r"13 accepted( \S+/s )?, 1 repeated.* 1 not allowed( \S+/s )?, 1 not valid.* 2 $")
    wait_for(lambda: counted.search(row(ops, "likes")), what=lambda: row(ops, "likes"))
    assert re.search(r"open 5 5 0 \d+ accepted.* above limit", row(ops, "slow")), row(ops, "slow")
    seen = marketing.get("/console/senders").words
    assert re.search(r"10 accepted( \S+/s )?, fewer than 10 repeated fewer than 10 not allowed", seen), seen


def test_no_page_is_left_out_of_these_tables() -> None:
    pages = console_pages(
        Console.__new__(Console),
        CampaignPages.__new__(CampaignPages),
        TypePages.__new__(TypePages),
        TextPages.__new__(TextPages),
    )  # asked for the names of its methods alone
    others = {"/console/now/stream", NOWHERE, *_CAMPAIGN_FORMS}
    assert {page.path for page in pages if page.method == "GET"} == {path.partition("?")[0] for path in PAGES} | others
    assert {page.path for page in pages if page.method == "POST"} == set(FORMS)
    expected = {path.partition("?")[0]: roles for path, roles in PAGES.items()}
    for page in pages:
        table = expected if page.method == "GET" else FORMS
        assert page.roles == table.get(page.path, page.roles)


def test_an_address_that_is_none_is_told_by_a_page(console: Gateway) -> None:
    seen = signed_in(console, "marketing").get("/console/campaign")
    assert (seen.status, "There is no such page. Back to the first page" in seen.words) == (404, True)


def test_the_address_of_a_form_leads_to_the_page_that_has_it(console: Gateway) -> None:
    browser = signed_in(console, "marketing")
    for path in _CAMPAIGN_FORMS:
        seen = browser.get(path)
        assert (seen.status, seen.headers["location"]) == (303, "/console/campaigns"), path


def test_who_is_not_signed_in_gets_to_the_page_for_it_and_on_from_there(console: Gateway) -> None:
    browser = Browser(console)
    for path in PAGES:
        seen = browser.get(path)
        assert seen.status == 303
        assert seen.headers["location"].startswith("/console/sign-in")
    asked = browser.get("/console/events?event=e2&outcome=INBOX").headers["location"]
    onward = parse_qs(urlsplit(asked).query)["next"][0]
    assert browser.sign_in("key-ops", onward).headers["location"] == "/console/events?event=e2&outcome=INBOX"
    assert browser.sign_in("key-ops", "/console/audit").headers["location"] == "/console/audit"
    for elsewhere in (
        "https://evil.example/",
        "//evil.example",
        "/console//evil.example",
        "\\\\evil",
        "/v1/audit",
        "/console\r\nX: y",
    ):
        assert Browser(console).sign_in("key-ops", elsewhere).headers["location"] == "/console"


@pytest.mark.parametrize(("key", "status"), [("wrong", 401), ("", 401), ("key-shop", 403), ("key-p0", 403)])
def test_no_session_without_a_key_of_a_person(console: Gateway, key: str, status: int) -> None:
    browser = Browser(console)
    seen = browser.sign_in(key)
    assert (seen.status, browser.cookie) == (status, "")
    assert 'role="alert"' in seen.text
    assert browser.get("/console").status == 303


def test_the_cookie_is_for_the_browser_alone_and_bears_no_key(console: Gateway) -> None:
    seen = Browser(console).sign_in("key-ops")
    assert {"HttpOnly", "SameSite=Strict", "Path=/console"} <= set(seen.headers["set-cookie"].split("; "))
    assert "key-ops" not in seen.headers["set-cookie"]


def test_a_cookie_that_was_made_elsewhere_is_none(console: Gateway) -> None:
    browser = signed_in(console, "support")
    name, _, value = browser.cookie.partition("=")
    claims = jwt.decode(value, options={"verify_signature": False})
    for forged in (
        jwt.encode({**claims, "role": "admin"}, "another secret, thirty-two bytes long", "HS256"),
        jwt.encode({**claims, "role": "admin"}, "", "none"), value[:-4] + "AAAA", "", "a.b.c",
    ):  # fmt: skip
        browser.cookie = f"{name}={forged}"
        assert browser.get("/console").status == 303


def test_another_site_cannot_act_in_a_persons_name(console: Gateway) -> None:
    browser, before = signed_in(console, "ops"), len(console.values("control"))
    stop = {"scope": "type", "value": "like", "reason": "spam"}
    assert browser.send("/console/switches", stop).status == 403, "no token"
    assert browser.send("/console/switches", {**stop, "token": "0" * 64}).status == 403
    other = signed_in(console, "ops")
    for sent in (
        {"sec-fetch-site": "", "origin": "https://evil.example"},
        {"origin": "http://[x", "sec-fetch-site": ""},
    ):
        browser.headers = sent
        assert browser.submit("/console/switches", "/console/switches", stop).status == 403
    browser.headers = {}
    assert browser.send("/console/switches", {**stop, "token": "é"}).status == 403
    browser.headers = {"sec-fetch-site": "cross-site"}
    assert browser.submit("/console/switches", "/console/switches", stop).status == 403
    browser.headers = {}
    token = browser.get("/console/switches").text.partition('name="token" value="')[2][:64]
    assert other.send("/console/switches", {**stop, "token": token}).status == 403, "of another session"
    assert len(console.values("control")) == before


def test_a_switch_is_set_and_lifted_by_forms(console: Gateway) -> None:
    browser = signed_in(console, "ops")
    form = {"scope": "type", "value": "like", "reason": "wrong <b>link</b>"}
    assert browser.submit("/console/switches", "/console/switches", form).status == 303
    shown = browser.get("/console/switches")
    assert "type like since" in shown.words
    assert "&lt;b&gt;link" in shown.text
    wait_for(lambda: "type like since" in browser.get("/console").words)
    assert console.values("control")[-1]["by"] == "ops"
    lifted = browser.submit("/console/switches", "/console/switches", {**form, "act": "lift"})
    assert lifted.status == 303
    assert "Nothing is stopped" in browser.get("/console/switches").words
    mistaken = browser.submit("/console/switches", "/console/switches", {**form, "value": "lik"})
    assert mistaken.status == 404
    assert "like" in mistaken.words
    audit = browser.get("/console/audit").words
    assert "kill scope type, value like wrong <b>link</b>" in audit


def test_an_event_is_shown_from_its_recipients_to_deliveries(console: Gateway) -> None:
    seen = signed_in(console, "support").get("/console/events?event=e2")
    assert "recipients" in seen.words
    assert "1 FELL_BACK channel_down" in seen.words
    assert "1 INBOX" in seen.words
    assert MIA not in seen.words, "whose it is needs a reason, on another page"
    told = signed_in(console, "ops").get("/console/events?event=e2").words
    assert "accepted 1970-01-01 00:00:02, decided 0 ms later" in told
    assert "apns, 1970-01-01 00:00:02: 200" in told, "every try and its answer"
    assert "It went on by sms." in told
    assert MIA not in told
    found = signed_in(console, "ops").get("/console/events?event=e3&outcome=SUPPRESSED").words
    assert "muted" in found
    assert "EMITTED" not in signed_in(console, "ops").get("/console/events?event=e2&outcome=INBOX").words
    lately = signed_in(console, "ops").get("/console/events?type=like").words
    assert "no such record since" in lately, "it looks at the last 24 hours, and this ledger is old"
    assert "Begin earlier" in lately
    assert "no such record" in signed_in(console, "ops").get("/console/events?event=nothing").words


def test_events_are_searched_by_time_in_the_viewers_zone(console: Gateway) -> None:
    browser = signed_in(console, "ops")

    may = 1_777_593_600_000  # 2026-05-01 00:00 UTC
    console.log.append(
        [
            decision("ann", f"hour{hour}", "INBOX", ("d", 100 + hour, 0), decided_at=may + hour * 3_600_000)
            for hour in range(4)
        ]
    )

    def found(**query: str) -> list[tuple[str, str]]:
        words = browser.get("/console/events?" + urlencode({"object": "photo", **query})).words
        return re.findall(r"(\d\d:\d\d):00 INBOX like (hour\d)", words)

    utc = {"from": "2026-05-01T01:00", "to": "2026-05-01T03:00"}
    assert found(**utc) == [("02:00", "hour2"), ("01:00", "hour1")], "the end is not included"
    lisbon = {"from": "2026-05-01T02:00", "to": "2026-05-01T04:00", "zone": "Europe/Lisbon"}
    assert found(**lisbon) == [("03:00", "hour2"), ("02:00", "hour1")]
    assert found(to="2026-05-01T01:30", outcome="INBOX") == [("01:00", "hour1"), ("00:00", "hour0")]
    assert found(**{"from": "2026-05-01T04:00", "to": "2026-05-01T05:00"}) == []
    wrong = browser.get("/console/events?from=tomorrow")
    assert wrong.status == 400
    assert "is no time: write a day and a time of day" in wrong.words
    nobody = browser.get("/console/events?type=like&zone=Atlantis")
    assert nobody.status == 400
    assert "Europe/Lisbon" in nobody.words


def test_a_look_at_a_person_needs_a_reason_and_is_noted(console: Gateway) -> None:
    browser = signed_in(console, "support")
    before = len(console.values("audit"))
    for path in (f"/console/people?user={MIA}", f"/console/explain?user={MIA}&event=e2"):
        seen = browser.get(path)
        assert seen.status == 400
        assert "reason" in seen.words
    assert len(console.values("audit")) == before
    shown = browser.get(f"/console/people?user={MIA}&reason=ticket").words
    assert "e3" in shown
    assert "no device and no address" in shown
    assert "In no segment" not in shown
    assert "In no segment" in browser.get(f"/console/people?user={MIA}&reason=ticket&segments=1").words
    why = browser.get(f"/console/explain?user={MIA}&event=e2&reason=ticket").words
    assert "Sent to push" in why
    acts = [(act["act"], act["about"], act["reason"]) for act in console.values("audit")[before:]]
    assert acts == [
        *[("history", {"user": MIA}, "ticket")] * 2, ("explain", {"user": MIA, "event": "e2"}, "ticket"),
    ]  # fmt: skip


def test_sign_out_ends_this_session_or_all(console: Gateway) -> None:
    here, there, other = signed_in(console, "ops"), signed_in(console, "ops"), signed_in(console, "admin")
    assert here.submit("/console", "/console/sign-out", {}).status == 303
    assert here.get("/console").status == 303
    assert there.get("/console").status == 200
    again = signed_in(console, "ops")
    assert again.submit("/console", "/console/sign-out", {"everywhere": "yes"}).status == 303
    assert there.get("/console").status == 303
    assert other.get("/console").status == 200
    wait_for(lambda: signed_in(console, "ops").get("/console").status == 200)


def test_styles_and_scripts_come_under_names_that_change_with_them(console: Gateway) -> None:
    page = Browser(console).get("/console/sign-in").text
    for after in ('href="', 'src="'):
        path = next(part.partition('"')[0] for part in page.split(after)[1:] if part.startswith("/console/files/"))
        seen = Browser(console).get(path)
        assert seen.status == 200
        assert "immutable" in seen.headers["cache-control"]
    assert Browser(console).get("/console/files/console.css").status == 404


def test_other_cookies_of_the_host_are_no_trouble(console: Gateway) -> None:
    browser = signed_in(console, "ops")
    browser.cookie = f'prefs={{"a":1}}; flag; a@b=1; {browser.cookie}'
    assert browser.get("/console").status == 200


def test_a_copy_of_a_cookie_is_worth_nothing_after_signing_out(console: Gateway) -> None:
    browser = signed_in(console, "ops")
    copied = browser.cookie
    browser.submit("/console", "/console/sign-out", {})
    browser.cookie = copied
    assert browser.get("/console").status == 303


def test_a_letter_is_not_discarded_by_a_form_that_does_not_say_so(console: Gateway) -> None:
    browser = signed_in(console, "ops")
    seen = browser.submit("/console/switches", "/console/letters", {"letter": "x"})
    assert seen.status == 400


def test_letters_come_in_pages_with_their_filters_and_what_is_decided_is_not_open(console: Gateway) -> None:
    console.log.append([letter("pager", 1_000 + number, "malformed") for number in range(120)])
    browser, path = signed_in(console, "ops"), "/console/letters?sender=pager"
    first = browser.get(path)
    older = older_page(first)
    assert "sender=pager" in older
    second = browser.get(older)
    assert (first.text.count("Discard decide/"), second.text.count("Discard decide/")) == (50, 50)
    assert not {*shown_letters(first)} & {*shown_letters(second)}
    name = shown_letters(second)[0]
    done = browser.submit(older, older, {"letter": name, "act": "discard", "reason": "seen"})
    assert f"{name} discarded" in done.words
    assert shown_letters(done)[0] == shown_letters(second)[1], "it is the same page"
    assert name not in shown_letters(browser.get(older))
    whole = browser.get(older + "&all=yes")
    assert name not in shown_letters(whole)
    assert "discarded" in whole.words
    last = browser.get(older_page(second))
    assert last.text.count("Discard decide/") == 20
    assert "Older" not in last.words
    assert browser.get("/console/letters?cursor=77").status == 400
    assert "No dead letter matches" in browser.get("/console/letters?sender=nobody").words


def test_pages_say_in_words_that_the_log_is_away_and_what_to_do(console: Gateway) -> None:
    browser = signed_in(console, "ops")
    body = {"scope": "campaign", "value": "spring"}
    assert console.call("POST", "/v1/ops/kill", body, key="key-ops").status == 200
    wait_for(lambda: "campaign spring" in browser.get("/console/switches").words)
    with console.fault("unreadable"):
        switches = browser.get("/console/switches")
        assert switches.status == 200
        assert "The log cannot be read just now. This is what this gateway knew last" in switches.words
        assert "campaign spring" in switches.words
        senders = browser.get("/console/senders")
        assert senders.status == 200
        assert "Dead letters cannot be counted" in senders.words
        for path in ("/console/letters", "/console/audit"):
            seen = browser.get(path)
            assert seen.status == 503
            assert "Load this page again in a few seconds" in seen.words
        assert console.get("/v1/ops/kill", key="key-ops").status == 503
    assert console.call("POST", "/v1/ops/kill", {**body, "on": False}, key="key-ops").status == 200
    assert "cannot be read" not in browser.get("/console/switches").words


def test_the_audit_says_what_is_wrong_with_a_filter_and_turns_pages_with_it(console: Gateway) -> None:
    browser = signed_in(console, "ops")
    for _ in range(60):
        signed_in(console, "ops")
    first = browser.get("/console/audit?by=ops")
    second = browser.get(older_page(first))
    assert first.text.count("<time>") == 50
    assert "by=ops" in older_page(first)
    assert second.text.count("<time>") >= 10
    assert "No act matches. Who is the name of a key" in browser.get("/console/audit?by=nobody").words
    bad = browser.get("/console/audit?cursor=x")
    assert bad.status == 400
    assert "begin without a cursor" in bad.words


def older_page(page: Seen) -> str:
    """Where the link below leads."""
    found = re.search(r'href="([^"]*)">Older', page.text)
    assert found is not None
    return unescape(found[1])


def shown_letters(page: Seen) -> list[str]:
    """Those about which something can be decided."""
    return re.findall(r'name="letter" value="([^"]+)"', page.text)


def test_a_door_that_was_closed_without_a_reason_is_shown_as_closed(console: Gateway) -> None:
    body = {"scope": "door", "value": "shop"}
    assert console.call("POST", "/v1/ops/kill", body, key="key-ops").status == 200
    wait_for(lambda: "closed: by ops" in signed_in(console, "ops").get("/console/senders").words)
    assert console.call("POST", "/v1/ops/kill", {**body, "on": False}, key="key-ops").status == 200


def test_credentials_that_end_soon_and_versions_are_on_the_first_page(console: Gateway) -> None:
    metrics = console.directory / "run" / "metrics" / "elsewhere.prom"
    metrics.parent.mkdir(parents=True, exist_ok=True)
    days = {"site": 6.9, "relay": -0.1, "key": 61.0}
    lines = [f'carillon_credential_expires_in_days{{credential="{name}"}} {left}' for name, left in days.items()]
    lines += ["# TYPE carillon_build_info gauge", 'carillon_build_info{process="deliver",version="0.0.9"} 1']
    metrics.write_text("\n".join(["# TYPE carillon_credential_expires_in_days gauge", *lines, ""]))
    browser = signed_in(console, "ops")
    wait_for(lambda: "relay has ended site ends in 6 days" in browser.get("/console").words)
    words = browser.get("/console").words
    assert "key ends" not in words
    assert f"Version 0.0.9: deliver {version('carillon')}: this gateway" in words
    metrics.unlink()


def test_what_is_held_back_is_counted_beside_why(console: Gateway) -> None:
    metrics = console.directory / "run" / "metrics" / "flows.prom"
    metrics.parent.mkdir(parents=True, exist_ok=True)

    def write(sent: int) -> None:
        lines = ["# TYPE carillon_deliveries_open gauge"]
        open_ones = {"p0-0": 2, "p0-1": 1, "0": 40, "1": 1}
        lines += [f'carillon_deliveries_open{{lane="{lane}"}} {number}' for lane, number in open_ones.items()]
        lines += ["# TYPE carillon_decide_waiting gauge"]
        for process, held, open_groups in (("decide-0", 20, 3), ("decide-1", 5, 1)):
            lines += [f'carillon_decide_waiting{{process="{process}",outcome="HELD"}} {held}']
            lines += [f'carillon_decide_waiting{{process="{process}",outcome="AGGREGATING"}} {open_groups}']
        lines += ["# TYPE carillon_load_score gauge", 'carillon_load_score{place="deliver"} 0.8']
        lines += ["# TYPE carillon_load_level gauge", 'carillon_load_level{place="deliver"} 1']
        lines += ["# TYPE carillon_breaker_state gauge", 'carillon_breaker_state{provider="apns"} 0']
        lines += ["# TYPE carillon_delivery_attempts_total counter"]
        lines += [f'carillon_delivery_attempts_total{{provider="apns",result="sent"}} {sent}']
        metrics.write_text("\n".join([*lines, ""]))

    write(100)
    ops, marketing = signed_in(console, "ops"), signed_in(console, "marketing")
    wait_for(lambda: "HELD 25 until quiet hours" in ops.get("/console").words)
    words = ops.get("/console").words
    assert "AGGREGATING 4 until its type's window ends" in words
    assert "sending P0 3 decided and not ended" in words
    assert "sending P1 and P2 41 decided and not ended" in words
    assert "P2 waits \u2013 the load of deliver" in words
    assert "AGGREGATING fewer than 10 until" in marketing.get("/console").words
    write(1100)
    wait_for(lambda: re.search(r"apns closed 0 0 1.100 sent [\d.]+/s", ops.get("/console").words))
    metrics.unlink()


def test_while_the_gateway_starts_a_browser_gets_a_page_that_asks_again_and_a_program_json(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    try:
        browser = Browser(gateway, headers={"accept": "text/html,application/xhtml+xml;q=0.9"})
        with gateway.fault("unread_preferences"):
            gateway.launch()
            page = browser.get("/console/types")
            assert (page.status, page.headers["retry-after"]) == (503, "2")
            assert page.headers["content-type"].startswith("text/html")
            assert 'http-equiv="refresh"' in page.text
            assert "The page comes by itself" in page.words
            sent = browser.send("/console/types", {"act": "publish"})
            assert "Your form did nothing" in sent.words
            assert 'http-equiv="refresh"' not in sent.text, "it would ask for what was sent"
            told = Browser(gateway, headers={"accept": "application/json"}).get("/console/types")
            assert (told.status, told.headers["content-type"]) == (503, "application/problem+json")
        wait_for(lambda: browser.get("/console/types").status == 303)
    finally:
        gateway.close()
