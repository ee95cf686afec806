"""The console in a real browser, on a running system: from sign-in to effects on the ledger, in each person's role."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
from helpers.browser import SOON_MS, pictures, save_picture, serious_faults
from helpers.up import Up, running
from helpers.waiting import wait_for
from playwright.sync_api import Browser, Page, Route, expect

from connectors.sandbox.watch import Watcher
from flows.config.credentials import development_credentials

PAGES = {
    "ops": ("", "/events", "/events?event=e1", "/senders", "/types", "/letters", "/switches", "/approvals", "/audit"),
    "marketing": ("/templates", "/templates?type=like&locale=pt", "/templates?type=_parts&locale=pt"),
    "support": ("/people", "/people?user=ann&reason=ticket%204711", "/explain?user=ann&event=e1&reason=ticket%204711"),
}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("console")) as started:
        phone = {"platform": "ios", "address": "0123456789abcdef" * 4}
        assert started.call("PUT", "/v1/users/ann/endpoints/push/phone", phone)[0] == 200
        for event, kind in (("e1", "mention"), ("e2", "reply")):
            started.post({"event_id": event, "type": kind, "actor": "bob", "target": "ann", "object": "thread"})
        for event in ("e1", "e2"):
            wait_for(
                lambda event=event: started.call("GET", f"/v1/notifications/{event}")[1].get("state") == "delivered"
            )
        yield started


def signed_in(browser: Browser, system: Up, role: str, *, dark: bool = False, width: int = 1100) -> Page:
    context = browser.new_context(color_scheme="dark" if dark else "light", viewport={"width": width, "height": 800})
    context.set_default_timeout(SOON_MS)
    page = context.new_page()
    page.goto(system.first["console"])
    page.get_by_label("Your key").fill(development_credentials(system.directory).keys[role])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Now")).to_be_visible()
    return page


@pytest.mark.parametrize("role", PAGES)
@pytest.mark.parametrize(("dark", "width"), [(False, 1100), (True, 390)])
def test_pages_keep_nobody_out(browser: Browser, system: Up, role: str, dark: bool, width: int) -> None:
    page = signed_in(browser, system, role, dark=dark, width=width)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    for path in PAGES[role]:
        page.goto(system.first["console"] + path)
        assert serious_faults(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is wider than the screen"
    assert complaints == [], "nothing that the page's own policy refuses"
    page.context.close()


def words(page: Page) -> str:
    return page.get_by_role("main").inner_text()


def test_now_is_live_and_a_switch_stops_a_type_until_it_is_lifted(browser: Browser, system: Up) -> None:
    watching, acting = signed_in(browser, system, "ops"), signed_in(browser, system, "ops")
    acting.get_by_role("link", name="Kill switches").click()
    acting.get_by_label("Its name").fill("mention")
    acting.get_by_label("Why").fill("wrong link")
    acting.get_by_role("button", name="Stop").click()
    expect(acting.get_by_text("type mention")).to_be_visible()
    wait_for(lambda: acting.reload() and re.search(r"Obeyed by .*\btransactional \d\d:\d\d:\d\d\.\d{3}", words(acting)))
    expect(
        watching.get_by_role("img", name=re.compile(r"score of a station over the last hour: \d\.\d\d at"))
    ).to_be_visible()
    expect(watching.get_by_text("type mention since")).to_be_visible()
    told = system.call("GET", "/v1/ops/health", key="ops")[1]
    assert {"apns", "fcm", "smtp"} <= {each["name"] for each in told["providers"] if each["breaker"] == "closed"}
    assert {"sequence/0", "decide/0", "deliver/0"} <= {each["name"] for each in told["lanes"]}
    system.post({"event_id": "e3", "type": "mention", "actor": "bob", "target": "ann", "object": "other"})
    wait_for(lambda: system.call("GET", "/v1/notifications/e3")[1].get("outcomes") == {"SUPPRESSED": 1})
    acting.goto(system.first["console"] + "/events?event=e3")
    expect(acting.get_by_text("kill_switch", exact=True)).to_be_visible()
    acting.get_by_role("link", name="Kill switches").click()
    acting.get_by_role("button", name="Lift").click()
    expect(acting.get_by_text("Nothing is stopped.")).to_be_visible()
    expect(watching.get_by_text("type mention since")).to_be_hidden()
    acting.get_by_role("link", name="Audit").click()
    expect(acting.get_by_role("cell", name="wrong link").first).to_be_visible()
    watching.context.close()
    acting.context.close()


def is_ready(system: Up) -> bool:
    try:
        return system.call("GET", "/readyz")[0] == 200
    except OSError:
        return False  # it starts


def test_now_is_live_again_where_the_gateway_that_came_back_was_not_ready_yet(browser: Browser, system: Up) -> None:
    """A stream that is answered by anything else than a stream is not asked for again by the browser."""
    page, stream = signed_in(browser, system, "ops"), "**/now/stream"
    expect(page.get_by_role("img", name=re.compile("score of a station"))).to_be_visible()
    refused: list[Route] = []

    def refuse(route: Route) -> None:
        refused.append(route)
        route.fulfill(status=503, content_type="text/html", body="<p>starting")

    page.route(stream, refuse)
    os.kill(system.pids()["gateway"], signal.SIGKILL)
    while not refused:
        page.wait_for_timeout(100)
    expect(page.get_by_text("The connection is lost")).to_be_visible()
    wait_for(lambda: is_ready(system))
    page.unroute(stream)
    switch = {"scope": "type", "value": "reply", "reason": "wrong link"}
    assert system.call("POST", "/v1/ops/kill", switch, key="ops")[0] == 200
    expect(page.get_by_text("type reply since")).to_be_visible()
    expect(page.get_by_text("The connection is lost")).to_be_hidden()
    assert system.call("POST", "/v1/ops/kill", switch | {"on": False}, key="ops")[0] == 200
    page.context.close()


def test_senders_are_shown_with_what_the_p0_gateway_answered_theirs(browser: Browser, system: Up) -> None:
    code = {"type": "otp", "target": "ann", "payload": {"code": "654321"}}
    assert system.post({**code, "event_id": "e4"}, p0=True) == 202
    page = signed_in(browser, system, "ops")

    def shown() -> bool:
        page.goto(system.first["console"] + "/senders")
        row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="p0_producer", exact=True))
        return "1 accepted" in row.inner_text()

    wait_for(shown)
    page.context.close()


def test_to_stop_p0_one_person_asks_in_his_window_and_another_confirms_in_hers(browser: Browser, system: Up) -> None:
    asking, confirming = signed_in(browser, system, "ops"), signed_in(browser, system, "admin")
    asking.get_by_role("link", name="Kill switches").click()
    asking.get_by_label("What", exact=True).select_option("all")
    asking.get_by_label("Why").fill("codes of a stranger")
    asking.get_by_role("button", name="Stop").click()
    expect(asking.get_by_text("Stop everything: codes of a stranger")).to_be_visible()
    expect(asking.get_by_role("button", name="Confirm")).to_be_hidden()
    assert serious_faults(asking) == []
    confirming.get_by_role("link", name="Approvals").click()
    confirming.get_by_role("button", name="Confirm: Stop everything").click()
    expect(confirming.get_by_text("Confirmed by admin")).to_be_visible()
    code = {"event_id": "code", "type": "otp", "target": "ann", "payload": {"code": "123456"}}
    system.post(code, p0=True)
    of_p0 = "/v1/notifications/code"
    wait_for(lambda: system.call("GET", of_p0, key="p0_producer", p0=True)[1].get("outcomes") == {"SUPPRESSED": 1})
    asking.get_by_role("link", name="Kill switches").click()
    asking.get_by_role("button", name="Lift").click()
    expect(asking.get_by_text("Nothing is stopped.")).to_be_visible()
    asking.get_by_role("link", name="Audit").click()
    expect(asking.get_by_text("kill: confirmed").first).to_be_visible()
    asking.context.close()
    confirming.context.close()


def test_a_type_is_tried_on_the_last_day_and_published_and_obeyed(browser: Browser, system: Up) -> None:
    phone = {"platform": "ios", "address": "c" * 64}
    assert system.call("PUT", "/v1/users/cleo/endpoints/push/p", phone)[0] == 200
    reply = {"type": "reply", "actor": "max", "target": "cleo", "object": "one"}
    of = "/v1/notifications/"
    system.post({**reply, "event_id": "reply1"})
    wait_for(lambda: system.call("GET", of + "reply1")[1].get("outcomes") == {"EMITTED": 1}, what="the first is sent")
    page = signed_in(browser, system, "ops")
    page.get_by_role("link", name="Types").click()
    page.get_by_role("link", name="reply", exact=True).click()
    page.get_by_label("Why", exact=True).fill("too loud")
    page.get_by_label("channels", exact=True).fill("pigeon")
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.get_by_text("pigeon").last).to_be_visible()
    expect(page.get_by_label("channels", exact=True)).to_have_value("pigeon")
    assert serious_faults(page) == []
    page.get_by_label("channels", exact=True).fill("in_app")
    page.get_by_role("button", name="Show what it would have done").click()
    expect(page.get_by_text(re.compile(r"\d would be INBOX instead of EMITTED"))).to_be_visible(timeout=90_000)
    assert serious_faults(page) == []
    page.get_by_label("Why", exact=True).fill("too loud")
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.get_by_text("Published, version 1 by ops: too loud.")).to_be_visible()
    system.post({**reply, "event_id": "reply2", "object": "two"})
    wait_for(lambda: system.call("GET", of + "reply2")[1].get("outcomes") == {"INBOX": 1}, what="the second is silent")
    page.get_by_label("Why", exact=True).fill("as before")
    page.get_by_role("button", name="Take back").click()
    expect(page.get_by_text("As Carillon has it, version 2 by ops: as before.")).to_be_visible()
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_text("too loud").first).to_be_visible()
    page.context.close()


def test_a_marketer_prepares_a_campaign_another_lets_it_go_and_it_arrives(
    browser: Browser, system: Up, tmp_path: Path
) -> None:
    for user in ("carla", "dora", "emil"):
        phone = {"platform": "ios", "address": sha256(user.encode()).hexdigest()}
        assert system.call("PUT", f"/v1/users/{user}/endpoints/push/phone", phone)[0] == 200
        wanted = {"types": {"newsletter": {"enabled": user != "emil"}}}
        assert system.call("PUT", "/v1/preferences", wanted, bearer=system.session(user))[0] == 200
    preparing, approving = signed_in(browser, system, "marketing"), signed_in(browser, system, "admin")
    preparing.get_by_role("link", name="Campaigns").click()
    assert serious_faults(preparing) == []
    preparing.get_by_label("Name").fill("summer")
    preparing.get_by_label("Type").fill("like")
    preparing.get_by_label("Title").fill("Summer sale")
    preparing.get_by_label("Text", exact=True).fill("All is cheaper.")
    preparing.get_by_role("button", name="Prepare").click()
    expect(preparing.get_by_text("is no type of marketing").first).to_be_visible()
    expect(preparing.get_by_label("Title")).to_have_value("Summer sale")
    assert serious_faults(preparing) == []
    preparing.get_by_label("Type").fill("newsletter")
    preparing.get_by_role("button", name="Prepare").click()
    expect(preparing.get_by_role("heading", name="Campaign summer")).to_be_visible()
    file = tmp_path / "people.csv"
    file.write_text("user,timezone\ncarla,Europe/Paris\ndora,\nemil,\ndora,\n,\n")
    preparing.get_by_label("Recipients").set_input_files(file)
    preparing.get_by_role("button", name="Upload").click()
    expect(preparing.get_by_text("0 of 3 recipients are released")).to_be_visible()
    expect(preparing.get_by_text("Every number in it is below 10")).to_be_visible()
    assert "type_off" not in words(preparing), "who opted out could be one person"
    expect(preparing.get_by_text("named 1 again; 1 rows were left out")).to_be_visible()
    assert serious_faults(preparing) == []
    approving.get_by_role("link", name="Campaigns").click()
    approving.get_by_role("link", name="summer").click()
    approving.locator("#why-approve").fill("checked the list")
    approving.get_by_role("button", name="Approve").click()
    expect(approving.get_by_text("Approved by admin")).to_be_visible()
    preparing.reload()
    preparing.locator("#why-start").fill("summer begins")
    preparing.get_by_role("button", name="Let it go").click()
    expect(preparing.get_by_text("running").or_(preparing.get_by_text("done"))).to_be_visible()
    sent = {sha256(user.encode()).hexdigest() for user in ("carla", "dora")}
    wait_for(lambda: sent <= {each["to"] for each in system.provider("apns")}, what="both phones rang")
    assert sha256(b"emil").hexdigest() not in {each["to"] for each in system.provider("apns")}
    wait_for(lambda: bool(preparing.reload()) and "3 of 3 recipients are released" in words(preparing))
    expect(preparing.get_by_text("done, type newsletter")).to_be_visible()
    approving.get_by_role("link", name="Audit").click()
    for why in ("checked the list", "summer begins"):
        expect(approving.get_by_role("cell", name=why)).to_be_visible()
    preparing.context.close()
    approving.context.close()


def test_a_campaign_with_its_estimate_and_this_is_its_picture(browser: Browser, system: Up, tmp_path: Path) -> None:
    for number in range(70):
        phone = {"platform": "ios", "address": sha256(f"fan{number}".encode()).hexdigest()}
        assert system.call("PUT", f"/v1/users/fan{number}/endpoints/push/phone", phone)[0] == 200
        wanted = {"types": {"newsletter": {"enabled": number < 50}}}
        assert system.call("PUT", "/v1/preferences", wanted, bearer=system.session(f"fan{number}"))[0] == 200
    file = tmp_path / "people.csv"
    file.write_text("user\n" + "".join(f"fan{number}\n" for number in range(70)) + "fan1\n\n")
    page = signed_in(browser, system, "marketing")
    page.get_by_role("link", name="Campaigns").click()
    page.get_by_label("Name").fill("autumn-sale")
    page.get_by_label("Type").fill("newsletter")
    page.get_by_label("Title").fill("Autumn sale")
    page.get_by_label("Text", exact=True).fill("20 % off until Sunday.")
    page.get_by_role("button", name="Prepare").click()
    page.get_by_label("Recipients").set_input_files(file)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("0 of 70 recipients are released")).to_be_visible()
    expect(page.get_by_text(re.compile("push: [345]0"))).to_be_visible()
    save_picture(page, pictures(tmp_path) / "campaign.png")
    page.context.close()


def test_a_portuguese_text_is_published_and_told_with_the_next_like_and_this_is_its_picture(
    browser: Browser, system: Up, tmp_path: Path
) -> None:
    phone = {"platform": "ios", "address": "d" * 64}
    assert system.call("PUT", "/v1/users/rita/endpoints/push/p", phone)[0] == 200
    assert system.call("PUT", "/v1/users/rita", {"locale": "pt-BR"})[0] == 200
    page = signed_in(browser, system, "marketing")
    page.get_by_role("link", name="Templates").click()
    assert serious_faults(page) == []
    page.get_by_label("Type").fill("like")
    page.get_by_label("Locale").fill("pt")
    page.get_by_role("button", name="Write").click()
    page.get_by_label("title", exact=True).fill("Nova curtida")
    page.get_by_label("one", exact=True).fill("{{ ator }} curtiu sua foto")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_text("unknown: ator")).to_be_visible()
    assert serious_faults(page) == []
    page.get_by_label("one", exact=True).fill("{{ actor }} adorou a sua foto")
    page.get_by_label("Show also in these locales").fill("en")
    page.get_by_role("button", name="Show what each channel would show").click()
    expect(page.get_by_role("region", name="push, pt")).to_contain_text("Ada adorou a sua foto")
    expect(page.get_by_role("region", name="push, en")).to_contain_text("Ada liked")
    assert serious_faults(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than a phone"
    page.set_viewport_size({"width": 1100, "height": 800})
    save_picture(page, pictures(tmp_path) / "texts.png")
    page.get_by_label("_variants").fill("a 100, b 0")
    page.get_by_role("button", name="Show what each channel would show").click()
    page.get_by_text("Variant b", exact=True).click()
    page.get_by_label("b:one", exact=True).fill("{{ actor }} gostou")
    page.get_by_role("button", name="Show what each channel would show").click()
    expect(page.get_by_role("region", name="push, pt, variant a")).to_contain_text("Ada adorou a sua foto")
    expect(page.get_by_role("region", name="push, pt, variant b")).to_contain_text("Ada gostou")
    assert serious_faults(page) == []
    page.get_by_label("Why").fill("warmer")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_text("Version 1 by marketing: warmer.")).to_be_visible()
    told, watcher = list[str](), Watcher(system.directory / "sandbox")

    def like() -> None:
        number = len(told)
        event = {"event_id": f"curtida{number}", "actor": "bob", "target": "rita", "object": f"photo{number}"}
        system.post({**event, "type": "like"})

    def is_told() -> bool:
        if texts := [each.text for each in watcher.take() if each.to == phone["address"]]:
            told.extend(texts)
            if "bob adorou a sua foto" not in told:
                like()  # the process that delivers had not heard of the new text yet
        return "bob adorou a sua foto" in told

    like()
    wait_for(is_told, what=lambda: str(told))
    watcher.close()
    newest = "--event", f"curtida{told.index('bob adorou a sua foto')}", "--user", "rita"
    wait_for(lambda: "Variant a of its text." in system.carillon("explain", *newest).stdout, what="explain tells of it")
    page.get_by_role("button", name="Take back").click()
    expect(page.get_by_text("Taken back with version 2 by marketing")).to_be_visible()
    page.get_by_role("button", name="Back to version 1").click()
    expect(page.get_by_text("Version 3 by marketing: back to version 1")).to_be_visible()
    assert serious_faults(page) == []
    page.context.close()


def test_a_draft_is_sent_to_oneself_and_arrives_and_nothing_is_published(browser: Browser, system: Up) -> None:
    phone = {"platform": "ios", "address": "e" * 64}
    assert system.call("PUT", "/v1/users/rui/endpoints/push/p", phone)[0] == 200
    page = signed_in(browser, system, "marketing")
    page.goto(system.first["console"] + "/templates?type=mention&locale=fr-CA")
    page.get_by_label("title", exact=True).fill("Mention")
    page.get_by_label("one", exact=True).fill("{{ actor }} a nommé: {{ p.text }}")
    page.get_by_label("Who does it").fill("Zoé")
    page.get_by_label("Values").fill('{"text": "allô"}')
    page.get_by_label("Send it for trying to this user").fill("rui")
    page.get_by_label("By", exact=True).select_option("push")
    with closing(Watcher(system.directory / "sandbox")) as watcher:
        page.get_by_role("button", name="Send it to this user").click()
        expect(page.get_by_role("status")).to_contain_text("It is on its way to rui by push")
        assert serious_faults(page) == []
        expect(page.get_by_label("one", exact=True)).to_have_value("{{ actor }} a nommé: {{ p.text }}")
        told = list[str]()

        def has_come() -> bool:
            told.extend(each.text for each in watcher.take() if each.to == phone["address"])
            return bool(told)

        wait_for(has_come, what="the draft arrives")
    assert ["Zoé a nommé: allô" in text for text in told] == [True]
    expect(page.get_by_text("Nothing is published; the built-in texts hold")).to_be_visible()
    sent = [each for each in system.ledger() if each.get("user") == "rui" and each["kind"] == "decision"]
    assert {(each["sender_id"], each["outcome"], each["type"]) for each in sent} == {
        ("campaign-tests", "EMITTED", "mention")
    }
    page.context.close()


def test_mails_are_drawn_with_their_styles_beside_their_plain_text(browser: Browser, system: Up) -> None:
    page = signed_in(browser, system, "marketing")
    page.goto(system.first["console"] + "/templates?type=mention&locale=it")
    page.get_by_label("title", exact=True).fill("Menzione")
    page.get_by_label("one", exact=True).fill("{{ actor }} ti ha nominato")
    page.get_by_text("For email alone").click()
    page.get_by_label("email.html", exact=True).fill('<p style="color: rgb(200, 0, 0)">{{ text }}</p>')
    page.get_by_label("Show also in these locales").fill("en")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.get_by_role("button", name="Show what each channel would show").click()
    mail = page.frame_locator('iframe[title="Mail, it"]').get_by_text("Ada ti ha nominato")
    expect(mail).to_have_css("color", "rgb(200, 0, 0)")
    expect(page.get_by_label("Plain text, it")).to_contain_text("Ada ti ha nominato")
    expect(page.frame_locator('iframe[title="Mail, en"]').get_by_text("Ada mentioned you")).to_be_visible()
    assert [url for url in asked if not url.startswith((system.first["console"], "about:"))] == []
    assert complaints == []
    assert serious_faults(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than a phone"
    page.context.close()


def test_a_picture_of_now_is_in_the_documents(browser: Browser, system: Up, tmp_path: Path) -> None:
    page = signed_in(browser, system, "ops")
    for number in range(3):
        system.post({"type": "like", "actor": f"fan{number}", "target": "ann", "object": "photo"})
    numbers = count()

    def drawn(name: str) -> bool:
        number = next(numbers)  # what came before the first look at the figures is on no line
        code = {"type": "otp", "target": "eve", "to": {"sms": f"+1500555{number:04}"}, "payload": {"code": "1"}}
        system.post(code, p0=True)
        phone = {"platform": "ios", "address": sha256(f"now{number}".encode()).hexdigest()}
        assert system.call("PUT", f"/v1/users/now{number}/endpoints/push/phone", phone)[0] == 200
        system.post({"type": "mention", "actor": "bob", "target": f"now{number}", "object": "thread"})
        named = re.compile(f"Latency of {name} over the last hour: 99 of 100 within")
        return page.get_by_role("img", name=named).is_visible()

    for each in ("P0", "P1"):
        wait_for(lambda each=each: drawn(each), what=f"a line for {each}", every_s=1)
    expect(page.get_by_role("row").filter(has_text="AGGREGATING")).to_contain_text(re.compile(r"AGGREGATING\s*[1-9]"))
    save_picture(page, pictures(tmp_path) / "now.png")
    page.context.close()


def test_support_finds_out_why_and_this_is_its_picture(browser: Browser, system: Up, tmp_path: Path) -> None:
    page = signed_in(browser, system, "support")
    page.get_by_role("link", name="People").click()
    page.get_by_label("User").fill("ann")
    page.get_by_label("Why you look").fill("ticket 4711")
    page.get_by_role("button", name="Show").click()
    wait_for(lambda: page.reload() and "The search ended" not in words(page), what="a search that saw all")
    save_picture(page, pictures(tmp_path) / "support.png")
    page.get_by_role("row").filter(has_text="reply").get_by_role("link", name="why?").click()
    expect(page.get_by_text("Sent to push")).to_be_visible()
    expect(page.get_by_text("bob liked")).to_be_hidden()
    page.goto(system.first["console"] + "/events?event=e1")
    wait_for(lambda: page.reload() and "search ended" not in words(page), what="a search that saw all")
    expect(page.get_by_role("region", name="From recipients to deliveries")).to_be_visible()
    save_picture(page, pictures(tmp_path) / "console.png")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Your key")).to_be_visible()
    page.go_back()
    page.reload()
    expect(page.get_by_label("Your key")).to_be_visible()
    page.context.close()
