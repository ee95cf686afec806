"""The page of campaigns: two people in two browsers bring one on its way."""

import html
import re

import pytest
from helpers.console import Browser, signed_in
from helpers.gateway import Gateway

from connectors.console.uploads import FILE_BYTES_MAX

PAGE = "/console/campaigns"


def prepare(gateway: Gateway, name: str) -> str:
    """A campaign with an audience, by marketing; its page."""
    content = {"name": name, "type": "newsletter", "payload": {"headline": "<b>Sale</b>"}}
    assert gateway.call("POST", "/v1/campaigns", content, key="key-marketing").status == 201
    csv = {"content-type": "text/csv"}
    path = f"/v1/campaigns/{name}/audience"
    assert gateway.call("PUT", path, b"user\nann\nbob\n", key="key-marketing", headers=csv).status == 200
    return f"{PAGE}?name={name}"


def state(gateway: Gateway, name: str) -> tuple[str, list[str], int]:
    found = gateway.get(f"/v1/campaigns/{name}", key="key-marketing").json
    return found["state"], found["approvals"], found["revision"]


def act(browser: Browser, page: str, name: str, verb: str, revision: int, value: str = "") -> int:
    form = {"name": name, "act": verb, "revision": str(revision), "value": value, "reason": f"to {verb}"}
    return browser.submit(page, PAGE, form).status


def test_one_person_prepares_and_another_lets_it_go(told: Gateway) -> None:
    page = prepare(told, "sale")
    ann, bob = signed_in(told, "marketing"), signed_in(told, "admin")
    assert "sale" in ann.get(PAGE).words
    assert "&lt;b&gt;Sale" in ann.get(page).text, "what it says is text"
    assert act(ann, page, "sale", "approve", state(told, "sale")[2]) == 409
    assert act(bob, page, "sale", "approve", 1) == 409, "what he has not seen"
    assert act(bob, page, "sale", "approve", state(told, "sale")[2]) == 303
    assert state(told, "sale")[:2] == ("draft", ["admin"])
    assert act(ann, page, "sale", "start", state(told, "sale")[2], "2030-12-01T09:00") == 303
    for verb, value, after in (
        ("throttle", "7", "running"), ("pause", "", "paused"), ("resume", "", "running"), ("cancel", "", "cancelled"),
    ):  # fmt: skip
        assert act(ann, page, "sale", verb, state(told, "sale")[2], value) == 303
        assert state(told, "sale")[0] == after
    assert "cancelled" in ann.get(page).words
    acts = [each for each in told.values("audit") if each.get("about", {}).get("campaign") == "sale"]
    noted = {each["about"]["verb"]: each.get("reason") for each in acts}
    assert noted["approve"] == "to approve"
    changes = signed_in(told, "admin").get("/console/audit").words
    assert "state: draft revision: 3 per_second: 1000 approvals: ['admin']" in changes, "what stayed has no arrow"
    assert "per_second: 1000 → 7" in changes
    assert "start_local: 2030-12-01T09:00" in changes, "what came"
    assert [noted[verb] for verb in ("start", "pause", "resume", "cancel")] == [
        "to start", "to pause", "to resume", "to cancel",
    ]  # fmt: skip


def test_who_does_not_say_why_does_nothing(told: Gateway) -> None:
    page = prepare(told, "silent")
    before, bob = state(told, "silent"), signed_in(told, "admin")
    for verb in ("approve", "start", "pause", "resume", "advance", "cancel"):
        form = {"name": "silent", "act": verb, "revision": str(before[2]), "value": "", "reason": " "}
        seen = bob.submit(page, PAGE, form)
        assert (seen.status, "reason is missing" in seen.words) == (400, True)
    assert state(told, "silent") == before


def test_a_slot_is_asked_for_and_given_up_and_each_time_approvals_are_void(told: Gateway) -> None:
    page = prepare(told, "slotted")
    ann, bob = signed_in(told, "marketing"), signed_in(told, "admin")
    for asked, said in (("on", "With a dedicated slot"), ("off", "Ask for a dedicated slot")):
        assert act(bob, page, "slotted", "approve", state(told, "slotted")[2]) == 303
        form = {"name": "slotted", "slot": asked, "revision": str(state(told, "slotted")[2])}
        assert ann.submit(page, f"{PAGE}/slot", form | {"revision": "1"}).status == 409, "what he has not seen"
        assert ann.submit(page, f"{PAGE}/slot", form).status == 303
        assert state(told, "slotted")[1] == []
        assert said in bob.get(page).text


def test_a_form_sends_a_test(told: Gateway) -> None:
    page = prepare(told, "tried")
    ann, form = signed_in(told, "marketing"), {"name": "tried", "revision": str(state(told, "tried")[2])}
    assert ann.submit(page, f"{PAGE}/test", form | {"users": " "}).status == 400
    seen = ann.submit(page, f"{PAGE}/test", form | {"users": "a b c d e f"})
    assert (seen.status, 'value="a b c d e f"' in seen.text) == (400, True)
    assert ann.submit(page, f"{PAGE}/test", form | {"users": "ann", "revision": "x"}).status == 409
    assert ann.submit(page, f"{PAGE}/test", form | {"users": "ann  bob"}).status == 303
    noted = [act for act in told.values("audit") if act.get("about", {}).get("verb") == "test"]
    assert [act["by"] for act in noted] == ["marketing"]


def test_words_are_changed_and_approvals_are_void_and_what_else_it_says_stays(told: Gateway) -> None:
    page = prepare(told, "worded")
    ann, bob = signed_in(told, "marketing"), signed_in(told, "admin")
    assert act(bob, page, "worded", "approve", state(told, "worded")[2]) == 303
    form = {"name": "worded", "title": " Sale ", "body": "", "revision": str(state(told, "worded")[2])}
    assert ann.submit(page, f"{PAGE}/edit", form | {"revision": "1"}).status == 409, "what she has not seen"
    assert ann.submit(page, f"{PAGE}/edit", form).status == 303
    assert state(told, "worded")[1] == []
    payload = told.get("/v1/campaigns/worded", key="key-marketing").json["payload"]
    assert payload == {"headline": "<b>Sale</b>", "title": "Sale"}


def test_values_of_any_name_are_lines_of_the_forms(told: Gateway) -> None:
    ann = signed_in(told, "marketing")
    form = {
        "name": "valued",
        "type": "newsletter",
        "title": "Sale",
        "values": 'code = SUMMER\n\nleft=20\nyear = "2026"\n',
    }
    assert ann.submit(PAGE, f"{PAGE}/new", form).status == 303
    first = {"title": "Sale", "code": "SUMMER", "left": 20, "year": "2026"}
    assert told.get("/v1/campaigns/valued", key="key-marketing").json["payload"] == first
    page = f"{PAGE}?name=valued"
    assert "code = SUMMER\nleft = 20\nyear = &#34;2026&#34;</textarea>" in ann.get(page).text
    edit = {"name": "valued", "title": "Sale", "revision": str(state(told, "valued")[2])}
    bad = ann.submit(page, f"{PAGE}/edit", edit | {"values": "code = A\nSUMMER"})
    assert (bad.status, "line 2 has no = behind a name: write it like code = SUMMER" in bad.words) == (400, True)
    assert "code = A\nSUMMER</textarea>" in bad.text
    assert ann.submit(page, f"{PAGE}/edit", edit | {"values": "code = WINTER"}).status == 303
    assert told.get("/v1/campaigns/valued", key="key-marketing").json["payload"] == {"title": "Sale", "code": "WINTER"}
    late = ann.submit(page, f"{PAGE}/edit", edit | {"values": ""})
    assert "code SUMMER WINTER -" in late.words, "as she saw it, as it is, as she typed it"


def test_what_has_several_lines_is_one_of_the_form(told: Gateway) -> None:
    payload = {"note": "lines\nof it", "more": "a\nb = c"}
    content = {"name": "lined", "type": "newsletter", "payload": payload}
    assert told.call("POST", "/v1/campaigns", content, key="key-marketing").status == 201
    ann, page = signed_in(told, "marketing"), f"{PAGE}?name=lined"
    lines = r'note = "lines\nof it"' + "\n" + r'more = "a\nb = c"'
    assert f"{lines}</textarea>" in html.unescape(ann.get(page).text)
    form = {"name": "lined", "title": "Sale", "revision": "1", "values": lines}
    assert ann.submit(page, f"{PAGE}/edit", form).status == 303
    assert told.get("/v1/campaigns/lined", key="key-marketing").json["payload"] == {**payload, "title": "Sale"}


def test_what_no_line_can_say_stays_as_it_is(told: Gateway) -> None:
    odd = {"a=b": "x", " ": ""}
    content = {"name": "odd", "type": "newsletter", "payload": odd}
    assert told.call("POST", "/v1/campaigns", content, key="key-marketing").status == 201
    ann, page = signed_in(told, "marketing"), f"{PAGE}?name=odd"
    seen = ann.get(page)
    assert (seen.status, 'name="values"' in seen.text) == (200, False)
    form = {"name": "odd", "title": "Sale", "revision": "1"}
    assert ann.submit(page, f"{PAGE}/edit", form).status == 303
    assert told.get("/v1/campaigns/odd", key="key-marketing").json["payload"] == {**odd, "title": "Sale"}


def test_rows_that_were_left_out_are_a_file(told: Gateway) -> None:
    page = prepare(told, "rows")
    ann = signed_in(told, "marketing")
    assert "which, and why" not in ann.get(page).words
    assert upload(ann, page, "rows", b"user,timezone\nann,\n,\nbob,Mars/Base\n") == 303
    assert f"{PAGE}/bad-rows?name=rows" in ann.get(page).text
    seen = ann.get(f"{PAGE}/bad-rows?name=rows")
    assert "attachment" in seen.headers["content-disposition"]
    assert [line.partition(",")[0] for line in seen.text.splitlines()] == ["row", "3", "4"]
    assert "timezone: is no IANA zone" in seen.text
    assert ann.get(f"{PAGE}/bad-rows?name=never").status == 404


def test_it_goes_at_one_moment_for_all_if_the_form_says_so(told: Gateway) -> None:
    page = prepare(told, "moment")
    ann, bob = signed_in(told, "marketing"), signed_in(told, "admin")
    assert act(ann, page, "moment", "throttle", state(told, "moment")[2], "7") == 303, "also before it goes"
    assert act(bob, page, "moment", "approve", state(told, "moment")[2]) == 303
    form = {
        "name": "moment",
        "act": "start",
        "value": "2030-12-01T09:00",
        "clock": "one",
        "zone": "Mars/Base",
        "reason": "x",
    }
    form["revision"] = str(state(told, "moment")[2])
    assert ann.submit(page, PAGE, form).status == 400
    assert ann.submit(page, PAGE, form | {"zone": "Europe/Paris", "value": "soon"}).status == 400
    assert ann.submit(page, PAGE, form | {"zone": "Europe/Paris"}).status == 303
    assert "It goes at 2030-12-01 08:00:00 UTC" in ann.get(page).words
    assert told.get("/v1/campaigns/moment", key="key-marketing").json["start_local"] is None


@pytest.mark.parametrize(
    ("verb", "value"),
    [("throttle", "0"), ("throttle", "00000000150"), ("throttle", "many"), ("start", "soon"), ("burn", "")],
)
def test_a_form_that_makes_no_sense_changes_nothing(told: Gateway, verb: str, value: str) -> None:
    if told.get("/v1/campaigns/odd", key="key-marketing").status == 404:
        prepare(told, "odd")
    before = state(told, "odd")
    ann = signed_in(told, "marketing")
    assert act(ann, f"{PAGE}?name=odd", "odd", verb, before[2], value) == 400
    assert state(told, "odd") == before


def test_others_do_not_see_the_page(told: Gateway) -> None:
    for role in ("ops", "support"):
        assert signed_in(told, role).get(PAGE).status == 403
    assert signed_in(told, "marketing").get(f"{PAGE}?name=never").status == 404


def upload(browser: Browser, page: str, name: str, file: bytes, file_name: str = "people.csv", stages: str = "") -> int:
    """Send a file as a browser does."""
    shown = browser.get(page).text
    token, revision = (re.findall(rf'name="{field}" value="(\w+)"', shown)[-1] for field in ("token", "revision"))
    fields = {"token": token, "name": name, "revision": revision, "stages": stages}
    parts = [f'--edge\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{value}' for key, value in fields.items()]
    parts.append(f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n\r\n')
    body = "\r\n".join(parts).encode() + file + b"\r\n--edge--\r\n"
    return browser.post(f"{PAGE}/audience", body, "multipart/form-data; boundary=edge").status


def create(browser: Browser, name: str, kind: str = "newsletter") -> int:
    return browser.submit(PAGE, f"{PAGE}/new", {"name": name, "type": kind, "title": "Sale", "body": " "}).status


def test_a_form_prepares_it_and_another_names_its_recipients(told: Gateway) -> None:
    ann, page = signed_in(told, "marketing"), f"{PAGE}?name=own"
    assert create(ann, "own") == 303
    assert told.get("/v1/campaigns/own", key="key-marketing").json["payload"] == {"title": "Sale"}
    assert upload(ann, page, "own", b"user\r\nann\r\nbob\r\nann\r\n") == 303
    found = told.get("/v1/campaigns/own", key="key-marketing").json
    assert (found["editor"], found["audience"]["recipients"], found["audience"]["doubles"]) == ("marketing", 2, 1)
    assert upload(ann, page, "own", b'{"user":"eve"}\n', "people.NDJSON") == 303
    assert told.get("/v1/campaigns/own", key="key-marketing").json["audience"]["recipients"] == 1


@pytest.mark.parametrize(("name", "kind"), [("own2", "otp"), ("Own 2", "newsletter"), ("own2", "")])
def test_what_is_no_campaign_is_not_prepared(told: Gateway, name: str, kind: str) -> None:
    assert create(signed_in(told, "marketing"), name, kind) == 400
    assert told.get("/v1/campaigns/own2", key="key-marketing").status == 404


def test_a_form_that_is_refused_keeps_what_was_typed_and_names_the_field(told: Gateway) -> None:
    ann = signed_in(told, "marketing")
    form = {"name": "kept", "type": "otp", "title": 'A "sale"', "body": "All is <cheaper>."}
    seen = ann.submit(PAGE, f"{PAGE}/new", form)
    assert (seen.status, 'id="wrong-type"' in seen.text) == (400, True)
    assert "is no type of marketing" in seen.words
    for value in ("kept", "otp", "A &#34;sale&#34;", "All is &lt;cheaper&gt;."):
        assert f'value="{value}"' in seen.text
    assert ann.submit(PAGE, f"{PAGE}/new", form | {"type": "newsletter"}).status == 303
    again = ann.submit(PAGE, f"{PAGE}/new", form | {"type": "newsletter", "title": "Another"})
    assert (again.status, 'value="Another"' in again.text) == (409, True)
    assert "there is a campaign of this name" in again.words


def test_words_that_come_late_are_not_lost(told: Gateway) -> None:
    page, ann = prepare(told, "late"), signed_in(told, "marketing")
    form = {"name": "late", "title": "Typed long", "body": "and carefully", "revision": "1"}
    seen = ann.submit(page, f"{PAGE}/edit", form)
    assert (seen.status, "somebody else changed the campaign" in seen.words) == (409, True)
    assert 'value="Typed long"' in seen.text
    assert "and carefully" in seen.text
    assert f'name="revision" value="{state(told, "late")[2]}"' in seen.text, "to be sent again on what there is now"


def test_who_comes_late_sees_whose_words_he_would_replace(told: Gateway) -> None:
    page, ann, bob = prepare(told, "both"), signed_in(told, "marketing"), signed_in(told, "admin")
    seen = state(told, "both")[2]
    form = {"name": "both", "title": "Sale", "body": "All is cheaper.", "revision": str(seen)}
    assert bob.submit(page, f"{PAGE}/edit", form | {"title": "Bob's sale"}).status == 303
    assert act(ann, page, "both", "approve", state(told, "both")[2]) == 303
    late = ann.submit(page, f"{PAGE}/edit", form | {"title": "Ann's sale"})
    assert late.status == 409
    assert re.search(
        r"Since you looked: admin changed what it says \([^;]* UTC\); marketing approved it \(", late.words
    )
    assert "title - Bob's sale Ann's sale" in late.words, "as it was, as it is, as she typed it"
    assert "body - All is cheaper. All is cheaper." in late.words
    assert "headline" not in late.words.partition("What it says")[0], "what nobody changed is left out"
    assert "Replace what is there now" in late.words
    assert ann.submit(page, f"{PAGE}/edit", form | {"revision": str(state(told, "both")[2])}).status == 303
    assert told.get("/v1/campaigns/both", key="key-marketing").json["payload"]["title"] == "Sale"


def test_who_comes_late_to_another_form_sees_what_it_says_now(told: Gateway) -> None:
    page, ann, bob = prepare(told, "turned"), signed_in(told, "marketing"), signed_in(told, "admin")
    seen = state(told, "turned")[2]
    form = {"name": "turned", "title": "New", "body": "", "revision": str(seen)}
    assert bob.submit(page, f"{PAGE}/edit", form).status == 303
    late = ann.submit(
        page, PAGE, {"name": "turned", "act": "start", "revision": str(seen), "value": "", "reason": "go"}
    )
    assert (late.status, "title - New (stays as it is now)" in late.words) == (409, True)
    assert "Change the words" in late.words


def test_a_form_has_it_go_in_stages(told: Gateway) -> None:
    page, users = prepare(told, "staged"), b"user\n" + b"".join(b"s%d\n" % number for number in range(200))
    ann, bob = signed_in(told, "marketing"), signed_in(told, "admin")
    assert upload(ann, page, "staged", users, stages="50,10") == 400
    assert upload(ann, page, "staged", users, stages="10, 100") == 303
    assert act(bob, page, "staged", "approve", state(told, "staged")[2]) == 303
    form = {"name": "staged", "act": "start", "value": "2030-12-01T09:00", "reason": "it is time"}
    form["revision"] = str(state(told, "staged")[2])
    seen = ann.submit(page, PAGE, form | {"hold": "0"})
    assert (seen.status, "Nothing was changed: The hold is a number from 1 to" in seen.words) == (400, True)
    for typed in ("2030-12-01T09:00", "it is time", "0"):
        assert seen.text.count(f'value="{typed}"') == 1, "in its own form alone"
    assert ann.submit(page, PAGE, form | {"hold": "60"}).status == 303
    assert "10, 100 percent of its recipients, each 60 minutes after the one before" in ann.get(page).words
    assert "it is in stage 1" in ann.get(page).words
    assert act(ann, page, "staged", "advance", state(told, "staged")[2]) == 303
    assert "it is in stage 2" in ann.get(page).words
    assert "Let the next stage go" not in ann.get(page).words


def test_a_file_that_is_none_changes_nothing(told: Gateway) -> None:
    page = prepare(told, "files")
    ann, before = signed_in(told, "marketing"), state(told, "files")
    assert upload(ann, page, "files", b"user\nann\n", "people.xlsx") == 400
    assert upload(ann, page, "files", b"", "") == 400
    assert upload(ann, page, "files", b"x" * FILE_BYTES_MAX) == 413
    for broken in (b"", b"--edge", b"--edge\r\n\r\n\r\n--edge--", b"--edge\r\n" * 50):
        assert ann.post(f"{PAGE}/audience", broken, "multipart/form-data; boundary=edge").status in (400, 403)
    assert ann.post(f"{PAGE}/audience", b"x", "text/plain").status == 403
    wide = b'--edge\r\ncontent-disposition: form-data; name="file"; ' + b"a=b; " * 5_000 + b"\r\n\r\n\r\n--edge--"
    assert ann.post(f"{PAGE}/audience", wide, "multipart/form-data; boundary=edge").status == 400
    forged = b'--edge\r\ncontent-disposition: form-data; name="name"\r\n\r\nfiles\r\n--edge--'
    assert ann.post(f"{PAGE}/audience", forged, "multipart/form-data; boundary=edge").status == 403
    assert state(told, "files") == before
