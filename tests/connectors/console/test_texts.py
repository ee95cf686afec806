"""The page of templates: written, shown before, published, taken back and rolled back by forms."""

import re
import time
from html import unescape

from helpers.console import Browser, Seen, signed_in
from helpers.gateway import Gateway
from helpers.records import decision, delivery

PAGE = "/console/templates"
LIKE = {"text.title": "Curtida", "text.one": "{{ actor }} curtiu", "text.push.title": "Nova curtida"}


def act(browser: Browser, locale: str, verb: str, form: dict[str, str], kind: str = "like") -> Seen:
    page = f"{PAGE}?type={kind}&locale={locale}"
    return browser.submit(page, PAGE, {"type": kind, "locale": locale, "act": verb, **form})


def held(gateway: Gateway, locale: str, kind: str = "like") -> dict[str, object] | None:
    reply = gateway.get(f"/v1/templates/{kind}/{locale}", key="key-marketing")
    return dict(reply.json["texts"]) if reply.status == 200 else None


def test_texts_are_published_listed_rolled_back_and_taken_back(told: Gateway) -> None:
    ann = signed_in(told, "marketing")
    several = LIKE | {"text.detail": "Eins.\r\n---\r\nZwei\r\nDrei", "text.many": " "}
    assert act(ann, "pt", "publish", several | {"version": "0", "reason": "Brazil"}).status == 303
    texts = {"title": "Curtida", "one": "{{ actor }} curtiu", "push.title": "Nova curtida"}
    assert held(told, "pt") == texts | {"detail": ["Eins.", "Zwei\nDrei"]}
    assert "Eins.\n---\nZwei\nDrei</textarea>" in ann.get(f"{PAGE}?type=like&locale=pt").text
    assert act(ann, "pt", "publish", LIKE | {"text.title": "Outra", "version": "1"}).status == 303
    assert act(ann, "pt", "roll back", {"older": "1"}).status == 303
    assert held(told, "pt") == texts | {"detail": ["Eins.", "Zwei\nDrei"]}
    seen = ann.get(f"{PAGE}?type=like&locale=pt").words
    assert "Version 3 by marketing: back to version 1" in seen
    assert "Back to version 2" in seen
    assert "Back to version 3" not in seen, "what holds needs no way back"
    assert act(ann, "pt", "take back", {"version": "3"}).status == 303
    assert held(told, "pt") is None
    assert "like, pt pt 4 marketing taken back" in ann.get(PAGE).words
    assert act(ann, "pt", "roll back", {"older": "4"}).status == 404


def test_what_is_wrong_stands_beside_what_was_typed_and_nothing_is_published(told: Gateway) -> None:
    ann = signed_in(told, "marketing")
    wrong = LIKE | {"text.one": "<b>{{ actr }}", "text.push.title": "x" * 66, "reason": "a try"}
    for verb in ("publish", "preview"):
        seen = act(ann, "es", verb, wrong)
        assert (seen.status, held(told, "es")) == (400, None)
        assert "&lt;b&gt;{{ actr }}</textarea>" in seen.text
        assert "one unknown: actr: use" in seen.words
    long = act(ann, "es", "publish", LIKE | {"text.push.title": "x" * 66, "reason": "a try", "version": "0"})
    assert "push.title 66 units with the shortest values, at most 65 are shown: shorten it" in long.words
    assert 'value="a try"' in long.text
    values = act(ann, "es", "preview", LIKE | {"payload": "[1"})
    assert (values.status, "are no JSON object" in values.words) == (400, True)
    assert act(ann, "es", "preview", LIKE | {"locales": "a b c d"}).status == 400
    assert act(ann, "es", "burn", LIKE).status == 400
    assert act(ann, "", "publish", LIKE).status in (400, 404)


def test_who_saw_an_older_version_is_told_and_keeps_what_he_typed(told: Gateway) -> None:
    ann = signed_in(told, "marketing")
    assert act(ann, "fr", "publish", LIKE | {"version": "0"}).status == 303
    late = act(ann, "fr", "publish", LIKE | {"text.title": "Trop tard", "version": "0"})
    assert (late.status, "Trop tard</textarea>" in late.text) == (409, True)
    assert "it is at version 1 meanwhile" in late.words
    assert 'name="version" value="1"' in late.text, "now he has seen it"
    wrong = act(ann, "fr", "publish", LIKE | {"text.two": "x", "version": "0"})
    assert 'name="version" value="0"' in wrong.text, "another fault does not hide that there is a newer one"


def test_channels_and_locales_are_shown_side_by_side(told: Gateway) -> None:
    ann = signed_in(told, "marketing")
    given = LIKE | {"locales": "pt-BR-x en", "actors": "Bo, Cy", "payload": "{}", "text.many": "{{ who }} <i>curtiram"}
    seen = act(ann, "pt-BR", "preview", given)
    assert seen.status == 200
    for channel in ("push", "sms", "mail", "in_app", "chat", "webhook"):
        for locale in ("pt-BR", "pt-BR-x", "en"):
            assert f'aria-label="{channel}, {locale}"' in seen.text
    assert seen.text.count("<dd>Nova curtida</dd>") == 2, "who reads pt-BR-x gets those of pt-BR, who reads en does not"
    assert "&lt;i&gt;curtiram</dd>" in seen.text
    assert held(told, "pt-BR") is None


def test_variants_have_fields_are_shown_side_by_side_and_nothing_of_them_is_lost(told: Gateway) -> None:
    ann, page = signed_in(told, "marketing"), f"{PAGE}?type=share&locale=pt"
    halves = LIKE | {"text._variants": "a 50, b 50"}
    seen = act(ann, "pt", "preview", halves, "share")
    assert [f'aria-label="push, pt, variant {name}"' in seen.text for name in "abc"] == [True, True, False]
    for field in ("a:title", "b:one", "b:push.title"):
        assert f'name="text.{field}"' in seen.text
    wrong = act(ann, "pt", "publish", halves | {"text.b:push.title": "x" * 66, "text.c:title": "C"}, "share")
    assert (wrong.status, held(told, "pt", "share")) == (400, None)
    assert 'id="wrong-c:title-1"' in wrong.text
    wrong = act(ann, "pt", "publish", halves | {"text.b:push.title": "x" * 66}, "share")
    assert 'id="wrong-b:push.title-1"' in wrong.text
    texts = {"title": "T", "one": "A", "_variants": "a 50, b 50", "b:email.html": "<b>{{ text }}</b>", "b:one": "B"}
    assert told.call("PUT", "/v1/templates/share/pt", {"texts": texts}, key="key-marketing").status == 200
    found = re.findall(r'<textarea[^>]* name="([^"]+)"[^>]*>\n(.*?)</textarea>', ann.get(page).text, re.DOTALL)
    fields = {name: unescape(text) for name, text in found}
    assert act(ann, "pt", "publish", fields | {"text.b:one": "B!", "version": "1"}, "share").status == 303
    assert held(told, "pt", "share") == texts | {"b:one": "B!"}


def test_of_variants_it_is_counted_what_went_out_and_no_few_are_told(told: Gateway) -> None:
    ann = signed_in(told, "marketing")
    texts = LIKE | {"text._variants": "a 50, b 50", "text.b:title": "Oba"}
    assert act(ann, "nl", "publish", texts | {"version": "0", "reason": "two"}).status == 303
    page = f"{PAGE}?type=like&locale=nl"
    assert "Count them" in ann.get(page).words
    assert "None went to ten people or more yet" in ann.get(f"{page}&count=yes").words
    at = time.time_ns() // 1_000_000 + 60_000
    for number in range(48):
        user, emission = f"u{number}", f"em_u{number}"
        variant = "a" if number < 40 else "b"
        sent = delivery(user, emission, "phone", "DELIVERED", at, variant=variant)
        told.log.append([decision(user, f"c{number}", "EMITTED", ("d", 1, number), emission_id=emission), sent])
    seen = ann.get(f"{page}&count=yes")
    found = re.search(r"<tr><th scope=\"row\">a</th><td class=\"number\">(\d+)</td></tr></tbody>", seen.text)
    assert found is not None, "eight are too few to be told"
    assert found[1] in ("30", "40"), "in tens"


def test_parts_have_fields_by_their_names(told: Gateway) -> None:
    ann = signed_in(told, "marketing")
    assert act(ann, "pt", "publish", {"part": "help", "part_text": "Ajuda"}, "_parts").status == 303
    seen = ann.get(f"{PAGE}?type=_parts&locale=pt")
    assert "Ajuda</textarea>" in seen.text
    assert 'name="text.help"' in seen.text
    assert act(ann, "pt", "preview", {"text.help": "Ajuda"}, "_parts").status == 400
    wrong = act(ann, "pt", "publish", {"part": "Bad name", "part_text": "x"}, "_parts")
    assert (wrong.status, "is no name of a part" in wrong.words) == (400, True)


def test_urgent_texts_are_an_administrators(told: Gateway) -> None:
    ann, code = signed_in(told, "marketing"), {"text.title": "T", "text.one": "{{ p.code }}"}
    page = f"{PAGE}?type=otp&locale=pt"
    assert 'value="publish"' not in ann.get(page).text
    assert act(ann, "pt", "publish", code, "otp").status == 403
    assert 'value="publish"' in signed_in(told, "admin").get(page).text
    asked = act(signed_in(told, "admin"), "pt", "publish", code, "otp")
    assert (asked.status, asked.headers["location"], held(told, "pt", "otp")) == (303, "/console/approvals", None)
    bob = signed_in(told, "ops")
    waiting = bob.get("/console/approvals")
    assert "Publish the texts of otp, pt as version 1" in waiting.words
    assert "<dd>{{ p.code }}</dd>" in waiting.text
    found = re.search(r'name="approval" value="(\d+)"', waiting.text)
    assert found is not None
    decided = {"approval": found[1], "act": "confirm"}
    assert bob.submit("/console/approvals", "/console/approvals", decided).status == 303
    assert held(told, "pt", "otp") == {"title": "T", "one": "{{ p.code }}"}


def test_texts_are_sent_for_trying_and_stay_in_the_form(told: Gateway) -> None:
    ann = signed_in(told, "marketing")
    form = LIKE | {"user": "eve", "channel": "push", "actors": "Bo", "text.one": "{{ actor }} tenta"}
    seen = act(ann, "it", "test", form)
    assert (seen.status, held(told, "it")) == (200, None)
    assert "It is on its way to eve by push" in seen.words
    assert "{{ actor }} tenta</textarea>" in seen.text
    (sent,) = [each for each in told.values("campaigns") if "verb" in each]
    assert (sent["text"]["actor"], sent["text"]["draft"]["locale"]) == ("Bo", "it")
    for wrong, says in (({"user": ""}, "user"), ({"channel": "sms"}, "channel is none of this type")):
        refused = act(ann, "it", "test", form | wrong)
        assert (refused.status, says in refused.words) == (400, True)
    code = f"{PAGE}?type=otp&locale=it"
    assert 'value="test"' not in ann.get(code).text
    assert "<option>sms</option>" in signed_in(told, "admin").get(code).text


def test_a_mail_is_drawn_in_a_frame_that_runs_and_asks_nothing(told: Gateway) -> None:
    ann, html = (
        signed_in(told, "marketing"),
        '<p style="color: red" onclick="x()">{{ text }}</p><script>x()</script><img src="https://a.example">',
    )
    seen = act(ann, "pt", "preview", LIKE | {"text.email.html": html, "locales": "en"})
    frames = re.findall(r'<iframe sandbox srcdoc="([^"]*)" title="Mail, (\w+)">', seen.text)
    assert [locale for _, locale in frames] == ["pt", "en"]
    drawn = unescape(frames[0][0])
    assert '<p style="color:red">Ada curtiu</p>' in drawn
    assert drawn.count("default-src 'none'; style-src 'unsafe-inline'") == 1
    assert not any(word in drawn for word in ("onclick", "script", "img"))
    assert seen.headers["content-security-policy"].endswith("; style-src-attr 'unsafe-inline'")
    assert "unsafe-inline" not in ann.get(f"{PAGE}?type=like&locale=pt").headers["content-security-policy"]
