"""What notifications say: RULES 3.C word for word, every type in every language, and payloads that stay data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.render import (
    BODY_MAX,
    SMS_MAX,
    TITLE_MAX,
    cut_values,
    missing_values,
    render,
    render_row,
)
from operators.sandbox import compile_template, run_template
from operators.templates import LANGUAGES, language_of, load_language, row_language
from state.inbox.values import InboxRow
from state.model.content import ChatContent, EmailContent, InAppContent, PushContent, SmsContent, WebhookContent
from state.model.delivery import DigestItem, ToDeliver
from state.model.errors import TemplateError
from state.model.preference import QuietRange
from state.model.registry import load_registry
from state.model.template import TypeTexts, texts_in_force
from state.model.variants import of_variant, variant_of

TYPES = [name.replace("*", "spring") for name in load_registry().names()]


def emission(type_name: str, **changes: Any) -> ToDeliver:
    values: dict[str, Any] = {
        "emission_id": "em_1", "user": "u1", "type": type_name, "object": "photo1", "first_event_id": "e1",
        "priority": "P1", "channel": "push", "devices": (), "decided_at": 1, "valid_until": 2,
    }  # fmt: skip
    return ToDeliver(**(values | changes))


def push_body(type_name: str, **changes: Any) -> str:
    content = render(emission(type_name, **changes), "push")
    assert isinstance(content, PushContent)
    return content.body


@pytest.mark.parametrize("url", ["https://a.example/o/7?x=1", "http://a.example"])
def test_a_push_takes_a_web_address_along(url: str) -> None:
    content = render(emission("like", payload={"url": url}), "push")
    assert isinstance(content, PushContent)
    assert dict(content.data) == {"event_id": "e1", "type": "like", "url": url}


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "ftp://a.example", "/o/7", "https://a.example/a b", "https://a/" + "x" * 1_000, 7, None],
)
def test_what_is_no_web_address_or_too_long_stays_behind(url: Any) -> None:
    content = render(emission("like", payload={"url": url}), "push")
    assert isinstance(content, PushContent)
    assert dict(content.data) == {"event_id": "e1", "type": "like"}


def row_text(type_name: str, payload: bytes | None = None, **changes: Any) -> tuple[str, str]:
    values: dict[str, Any] = {"count": 1, "actors": ("A",), "actor_count": 1, "language": None} | changes
    content = render_row(InboxRow(type_name, "photo1", "e1", at=1, read=False, payload=payload, **values), "u1")
    return content.title, content.body


def test_a_row_says_what_is_in_it() -> None:
    assert row_text("like") == ("New like", "A liked your photo")
    many = {"count": 60, "actors": ("B", "C", "D"), "actor_count": 49}
    assert row_text("like", b'{"object_label":"reel"}', **many)[1] == "B and 48 others liked your reel"
    assert (
        row_text("like", b'{"actor_name":"Ada"}', **many, language="de")[1] == "Ada und 48 weiteren gefällt dein Foto"
    )
    assert row_text("security_alert", b'{"text":"\\u202esee\\n this {{ p }}"}')[1].endswith("see this {{ p }}")


def test_a_row_without_what_its_words_need_says_something_all_the_same() -> None:
    assert row_text("security_alert", b"{}")[1] == "There was a new sign-in to your account."
    assert row_text("otp") == ("Verification code", "Do not share it with anyone.")
    assert row_text("reply", b'{"text":7}', actors=(), actor_count=0)[1].startswith("Someone")
    assert row_text("never_registered") == ("Notification", "New notification: never registered")
    assert row_text("never_registered", b'{"title":"Shop","body":"Your order is here"}') == (
        "Shop",
        "Your order is here",
    )


def test_a_row_whose_words_do_not_render_has_the_generic_ones() -> None:
    types = load_language("en")["types"]
    types["needy"] = {"title": "Needy", "one": "{{ p.needed }}"}
    try:
        assert row_text("needy") == ("Notification", "New notification: needy")
        assert row_text("needy", b'{"needed":"It is here"}') == ("Needy", "It is here")
    finally:
        del types["needy"]


def test_rows_keep_a_language_tag_only_where_it_is_not_the_first() -> None:
    locales = (None, "en", "en-GB", "pt", "fr_CA", "de")
    assert [row_language(locale) for locale in locales] == [None, None, "en-GB", "pt", "fr-CA", "de"]
    assert row_text("like", language="fr-CA") == row_text("like", language="fr"), "the built-in words of the language"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"actors": ("A",), "actor_count": 1}, "A liked your photo"),
        ({"actors": ("B",), "actor_count": 1, "first": False}, "B also liked your photo"),
        ({"actors": ("B", "C", "D"), "actor_count": 49, "count": 70}, "B and 48 others liked your photo"),
        ({"actors": ("B", "C"), "actor_count": 2, "count": 2}, "B and 1 other liked your photo"),
        ({"actors": ("B",), "actor_count": 1, "count": 5, "first": False}, "B also liked your photo"),
        ({"actors": (), "actor_count": 0, "count": 5}, "Someone liked your photo"),
    ],
)
def test_aggregated_wording(changes: dict[str, Any], expected: str) -> None:
    assert push_body("like", **changes) == expected


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(1, 200), st.booleans())
def test_nobody_reads_of_0_others(actors: int, count: int, first: bool) -> None:
    names = tuple(f"user{number}" for number in range(min(actors, 3)))
    text = push_body("like", actors=names, actor_count=actors, count=max(actors, count), first=first)
    assert " 0 " not in text
    assert (" and " in text) == (actors > 1)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("type_name", [*TYPES, "digest", "never_heard_of"])
def test_every_type_speaks_every_language_on_every_channel(type_name: str, language: str) -> None:
    asked = emission(type_name, locale=language, actors=("Ann",), actor_count=1, payload={"code": "1234"})
    push, sms, mail = (render(asked, channel) for channel in ("push", "sms", "email"))
    assert isinstance(push, PushContent)
    assert isinstance(sms, SmsContent)
    assert isinstance(mail, EmailContent)
    assert push.title
    assert push.body
    assert sms.text
    assert mail.subject
    assert f'lang="{language}"' in mail.html


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {"Code": "1"},
        {"code": None},
        {"code": True},
        {"code": ["1"]},
        *({"code": text} for text in ("", " ", "\u200b", "\u2066", "\u3164")),
    ],
)
def test_a_code_without_its_code_is_no_text(payload: Any) -> None:
    assert missing_values("otp", payload, "P0") == ["code"]
    for channel in ("push", "sms", "email"):
        with pytest.raises(TemplateError, match=r"payload\.code"):
            render(emission("otp", priority="P0", payload=payload), channel)


@pytest.mark.parametrize("value", ["1", 1, 0, 1.5, "\U0001fae9", "\u0660"], ids=repr)
def test_what_one_sees_is_a_value(value: Any) -> None:
    assert missing_values("otp", {"code": value}, "P0") == []


def test_a_sentence_that_lacks_a_value_is_left_out_but_of_p0() -> None:
    assert push_body("otp", priority="P1") == "Do not share it with anyone."
    assert missing_values("otp", {}, "P1") == []
    assert [type_name for type_name in TYPES if missing_values(type_name, {}, "P0")] == ["otp"]


def test_languages_need_the_same_of_a_payload() -> None:
    for type_name in TYPES:
        for locale in LANGUAGES:
            for name in missing_values(type_name, {}, "P0"):
                with pytest.raises(TemplateError, match=name):
                    render(emission(type_name, priority="P0", locale=locale), "sms")
            if not missing_values(type_name, {}, "P0"):
                render(emission(type_name, priority="P0", locale=locale), "sms")


@pytest.mark.parametrize(
    ("type_name", "payload", "cut"),
    [
        ("otp", {"code": "1" * 190}, []),
        ("otp", {"code": "1" * 240}, ["code"]),
        ("password_reset", {"url": "https://example.org/" + "x" * 300}, []),
        ("password_reset", {"url": "https://example.org/" + "x" * 480, "code": "12"}, ["url"]),
        ("security_alert", {"text": "x" * 481, "title": "x" * 4_000}, ["text"]),
        ("security_alert", {"text": "two\n\nlines"}, []),
    ],
)
def test_what_would_be_cut_is_known_before(type_name: str, payload: dict[str, Any], cut: list[str]) -> None:
    assert cut_values(type_name, payload) == cut


def test_languages_have_the_same_types_and_words() -> None:
    english = load_language("en")
    for language in LANGUAGES:
        tables = load_language(language)
        assert tables["types"].keys() == english["types"].keys()
        assert tables["words"][""].keys() == english["words"][""].keys()
        for name, words in tables["types"].items():
            assert words.keys() == english["types"][name].keys(), name


@pytest.mark.parametrize(
    ("locale", "language"),
    [("fr-CA", "fr"), ("fr_CA", "fr"), ("DE", "de"), ("ja", "en"), ("", "en"), (None, "en"), ("x" * 999, "en")],
)
def test_locale_falls_back(locale: str | None, language: str) -> None:
    assert language_of(locale) == language


def test_a_code_is_in_the_text_and_not_in_title_or_subject() -> None:
    otp = emission("otp", priority="P0", payload={"code": "987654"})
    push, sms, mail = (render(otp, channel) for channel in ("push", "sms", "email"))
    assert isinstance(push, PushContent)
    assert isinstance(sms, SmsContent)
    assert isinstance(mail, EmailContent)
    assert "987654" in sms.text
    assert "987654" in push.body
    assert "987654" in mail.text
    assert "987654" in mail.html
    assert "987654" not in push.title + mail.subject


@pytest.mark.parametrize("value", ["{{ 7 * 7 }}", "{% if 1 %}b{% endif %}", "{{ ''.__class__ }}", "{# gone #}"])
def test_payload_values_are_never_templates(value: str) -> None:
    assert push_body("announcement", payload={"body": value}) == value


def test_html_of_payloads_and_names_is_escaped() -> None:
    payload = {"body": "<script>alert(1)</script>", "title": '"><i>'}
    mail = render(emission("announcement", name="<b>x</b>", payload=payload), "email")
    assert isinstance(mail, EmailContent)
    assert "<script" not in mail.html
    assert "<b>" not in mail.html
    assert "&lt;script&gt;" in mail.html
    assert "<script>alert(1)</script>" in mail.text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["title", "body", "text", "code", "actor_name", "object_label"]),
        st.one_of(st.text(max_size=400), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.text())),
    ),
    st.sampled_from(TYPES),
    st.sampled_from(["en", "de", "fr"]),
)
def test_any_payload_renders_within_bounds_on_one_line(payload: dict[str, Any], type_name: str, locale: str) -> None:
    asked = emission(type_name, payload=payload, locale=locale, actors=("Ann",), actor_count=1)
    push, sms, mail = (render(asked, channel) for channel in ("push", "sms", "email"))
    assert isinstance(push, PushContent)
    assert isinstance(sms, SmsContent)
    assert isinstance(mail, EmailContent)
    assert len(push.title) <= TITLE_MAX
    assert len(push.body) <= BODY_MAX
    assert len(sms.text) <= SMS_MAX
    for line in (push.title, push.body, sms.text, mail.subject):
        assert not set(line) & {"\n", "\r", "\x00", "\x1b", "\u202e", "\u2028", "\u2066"}


def test_a_digest_lists_its_items_and_counts_the_rest() -> None:
    items = tuple(DigestItem(f"e{n}", "comment", f"Ann{n}", None, {"text": "hi"}) for n in range(60))
    mail = render(emission("digest", count=60, digest_items=items, object=None), "email")
    assert isinstance(mail, EmailContent)
    assert mail.subject == "60 new notifications"
    assert "- Ann0 commented on your post\n" in mail.text
    assert "- and 10 more\n" in mail.text
    assert mail.html.count("<li>") == 51


def test_unsubscribe_only_where_an_address_is_given() -> None:
    without = render(emission("newsletter"), "email")
    with_one = render(emission("newsletter"), "email", unsubscribe_url="https://carillon.example/u/abc")
    assert isinstance(without, EmailContent)
    assert isinstance(with_one, EmailContent)
    assert "nsubscribe" not in without.text + without.html
    assert without.unsubscribe_url is None
    assert "https://carillon.example/u/abc" in with_one.text
    assert with_one.unsubscribe_url == "https://carillon.example/u/abc"


@pytest.mark.parametrize(
    "source",
    [
        "{% import 'x' as y %}", "{% include 'x' %}", "{% extends 'x' %}", "{% macro m() %}{% endmacro %}", "{{ open",
        "{% for a in x %}{% endfor %}", "{% set a = x %}", "{{ 'x' * 9 }}", "{{ 9 ** 9 }}", "{{ '%9d' % 1 }}",
        "{{ 'x'.ljust(9) }}", "{{ 'x' | center(9) }}", "{{ 'x' | nothing }}", "{% with a = x %}{% endwith %}",
        "{% filter upper %}{{ x() }}{% endfilter %}", "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
        "{{ " + "- " * 300 + "x }}", "{% if x %}" * 150 + "{% endif %}" * 150,
    ],
)  # fmt: skip
def test_templates_that_load_or_could_grow_without_bound_are_refused(source: str) -> None:
    with pytest.raises(TemplateError):
        compile_template(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}", "{{ p.__init__.__globals__ }}",
        "{{ 'x'" + " | replace('x', 'xxxxxxxxxx')" * 9 + " | length }}", "{{ p.text }}" * 20,
        "{{ x.append(1) }}", "{{ 1 / 0 }}", "{{ lipsum() }}",
    ],
)  # fmt: skip
def test_templates_cannot_escape_or_grow(source: str) -> None:
    with pytest.raises(TemplateError):
        run_template(source, {"p": {"text": "x" * 2_000}, "x": []})


def test_parts_of_parts_do_not_grow_without_bound() -> None:
    many = {"a": "{% include 'b' %}" * 400, "b": "{% include 'c' %}" * 400, "c": "x" * 8_000}
    found = texts_in_force({("like", "en"): {"one": "{% include 'a' %}"}, ("_parts", "en"): many}, "like", "en")
    assert found is not None
    assert max(map(len, found.values())) <= 400 * 8_000


def test_a_webhook_gets_what_it_is_about_and_what_a_person_would_read() -> None:
    content = render(emission("like", object="photo", payload={"object_label": "photo", "deep": {"a": [1]}}), "webhook")
    assert isinstance(content, WebhookContent)
    assert (content.type, content.at) == ("like", emission("like").decided_at)
    assert content.data["object"] == "photo"
    assert content.data["payload"] == {"object_label": "photo", "deep": {"a": [1]}}
    assert content.data["text"] == push_body("like", payload={"object_label": "photo"})
    assert set(content.data) == {
        "emission_id", "event_id", "priority", "object", "count", "actors", "actor_count", "title", "text", "payload",
    }  # fmt: skip


def test_what_a_person_would_read_of_a_webhook_is_bounded() -> None:
    texts = {"title": "{{ p.text }}", "one": "{{ p.text }}" * 12}
    content = render(emission("mention", payload={"text": "\U0001f514" * 450}), "webhook", texts=texts)
    assert isinstance(content, WebhookContent)
    assert len(content.data["title"]) <= 240
    assert 1_000 < len(content.data["text"]) <= 4_000


def test_a_chat_gets_what_a_mail_says_and_no_more_than_it_shows() -> None:
    for text, length in (("a < b " + "x" * 1_000, 1_000), ("x" * 50_000, 0), ("", 0)):
        content = render(emission("mention", payload={"text": text}), "chat")
        assert isinstance(content, ChatContent)
        assert content.text.startswith(push_body("mention", payload={"text": text}))
        assert text[:20] in content.text
        assert length < len(content.text) <= 4_000


def test_published_texts_take_the_place_of_the_built_in_ones() -> None:
    texts = {"title": "T", "one": "{{ actor }} curtiu"}
    liked = emission("like", actors=["ana"])
    content = render(liked, "push", texts=texts)
    assert isinstance(content, PushContent)
    assert (content.title, content.body) == ("T", "ana curtiu")
    row = InboxRow("like", "photo1", "e1", at=1, read=False, actors=("ana",), actor_count=1, count=1)
    assert render_row(row, "u1", lambda _type, _locale: texts).title == "T"
    by_locale = {("like", "fr"): texts, ("like", "default"): {"title": "D", "one": "{{ actor }}"}}
    rows = [replace(row, language=tag) for tag in ("fr-CA", "pt", None)]
    found = [render_row(each, "u1", lambda kind, tag: texts_in_force(by_locale, kind, tag or "en")) for each in rows]
    assert [each.title for each in found] == ["T", "D", "D"], "a row looks for texts as a push does"
    assert render_row(row, "u1", lambda _type, _locale: {"title": "T", "one": "{{ p.x }}"}) == render_row(row, "u1")


def test_a_published_text_never_cuts_a_code() -> None:
    code = emission("otp", priority="P0", payload={"code": "123456"})
    with pytest.raises(TemplateError):
        render(code, "sms", texts={"title": "T", "one": "x" * BODY_MAX + "{{ p.code }}"})


def test_a_channel_says_its_own_and_the_others_the_general_text() -> None:
    published: dict[tuple[str, str], TypeTexts] = {
        ("like", "default"): {
            "title": "T", "one": "{{ actor }} did", "push.one": "push", "email.subject": "{{ actor }}!",
            "email.html": "<h1 onclick='x'>{{ text }}</h1><script>x</script>", "language": "de",
            "many": "{{ who }} {{ count | plural(one='eins', other='#') }}", "sms.one": "{{ p.at | time('time') }}",
        },
        ("_parts", "default"): {"footer": "Fuß", "layout": "<div>{{ body }}</div>"},
    }  # fmt: skip
    texts = texts_in_force(published, "like", "de")
    liked = emission(
        "like",
        actors=["<ana>"],
        payload={"at": "2030-01-31T13:05:00Z"},
        locale="de",
        quiet=QuietRange(0, 1, "Europe/Berlin"),
    )
    assert [
        getattr(render(liked, channel, texts=texts), name)
        for channel, name in (("push", "body"), ("chat", "text"), ("in_app", "body"), ("sms", "text"))
    ] == ["push", "<ana> did", "<ana> did", "14:05"]
    mail = render(liked, "email", texts=texts)
    assert isinstance(mail, EmailContent)
    assert mail.subject == "<ana>!"
    assert "<div><h1>&lt;ana&gt; did</h1></div>" in mail.html
    assert mail.text.startswith("<ana> did\n\n-- \nFuß")


def test_a_row_says_the_variant_that_its_reader_was_sent() -> None:
    texts: TypeTexts = {"title": "T", "one": "A", "_variants": "a 50, b 50", "b:one": "B", "b:in_app.title": "U"}
    row = InboxRow("newsletter", None, "e1", at=1, read=False, actors=(), actor_count=0, count=1)
    for user, variant, title, body in (("ann", "a", "T", "A"), ("eve", "b", "U", "B")):
        assert variant_of(texts, "newsletter", user) == variant
        assert render_row(row, user, lambda _type, _locale: texts) == InAppContent(title, body)
        content = render(emission("newsletter", user=user), "in_app", texts=of_variant(texts, variant))
        assert content == InAppContent(title, body)


def test_a_page_of_rows_is_readable_though_a_value_of_one_is_a_time_beyond_every_calendar() -> None:
    texts: TypeTexts = {"title": "T", "one": "{{ p.at | time('date') }}"}
    row = InboxRow("share", None, "e1", at=1, read=False, payload=b'{"at":100000000000000000000}', actors=(), count=1)
    assert render_row(row, "ann", lambda _type, _locale: texts) == render_row(row, "ann")


def test_a_lock_screen_shows_the_end_of_a_card_however_it_came_there() -> None:
    texts = {"title": "{{ p.a }} {{ p.b }}", "one": "{{ p.a }}-{{ p.b }}" + " x" * 105 + " {{ p.a }} {{ p.b }}"}
    given = emission("like", payload={"a": "4111 1111", "b": "1111 1111"})
    push, sms = (render(given, channel, texts=texts) for channel in ("push", "sms"))
    assert isinstance(push, PushContent)
    assert isinstance(sms, SmsContent)
    assert push.title == "**** **** **** 1111"
    assert push.body.startswith("**** ****-**** 1111 x")
    assert "1" not in push.body[19:], "what is cut shows no more of it"
    assert sms.text.endswith("**** **** **** 1111")
    mail = render(given, "email", texts=texts)
    assert isinstance(mail, EmailContent)
    assert "4111 1111-1111 1111" in mail.text
    code = emission("otp", priority="P0", payload={"code": "123-45-6789"})
    assert "123-45-6789" in str(render(code, "sms"))


def test_what_is_alike_but_not_the_same_is_said_as_it_is() -> None:
    """A text that was made is used again for the same values only: 1 is none of 1.0 and true."""
    values = (1, 1.0, True, "1", None, 2**70)
    said = [render(emission("mention", actors=("a",), payload={"actor_name": value}), "push") for value in values]
    again = [render(emission("mention", actors=("a",), payload={"actor_name": value}), "push") for value in values]
    bodies = [each.body.split()[0] for each in said if isinstance(each, PushContent)]
    assert said == again
    assert bodies == ["1", "1.0", "a", "1", "a", str(2**70)]
