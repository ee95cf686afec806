"""What is an address, and in which one form."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sandbox.misbehaviour import Misbehaviours
from state.model.addresses import (
    Served,
    address_complaint,
    canonical,
    device_token,
    fcm_token,
    is_served_by,
    mailbox,
    parsed_phone,
    phone,
    sandbox_fcm_token,
    sandbox_token,
    unserved,
)

HEX = "0123456789abcdef" * 4
SERVED: Served = {"push": {"ios": "apns", "*": "apns"}, "sms": {"*": "e164"}, "email": {"*": "mail"}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (HEX, HEX), (HEX.upper(), HEX), (HEX * 3, HEX * 3), ("a" * 200, "a" * 200),
        *((text, None) for text in (
            "", HEX[:62], HEX + "0", "a" * 199, "a" * 202, HEX * 4, f" {HEX}",
            f"<{HEX}>", f"{HEX}\n", f"p\u00e9{HEX}", "not hex", "x" * 64,
            f"{HEX[:32]} {HEX[32:]}", "e" * 500, "\u0661" * 64, "503-" + HEX,
        )),
    ],
)  # fmt: skip
def test_device_tokens(text: str, found: str | None) -> None:
    assert device_token(text) == found
    if found:
        assert sandbox_token(text) == found


FID = "dUmmy_installation-Id1"
NO_FIDS = (f"{FID}1", FID[:-1], f"a{FID[1:]}", FID.replace("_", ":"))
FCM = "dGhpcyBpcyBhIHRva2Vu:APA91b" + "A-_z" * 30


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (FCM, FCM), (FID, FID), (FCM.lower(), FCM.lower()), ("a" * 32, "a" * 32), ("a" * 1024, "a" * 1024),
        *((text, None) for text in NO_FIDS),
        *((text, None) for text in ("", "a" * 31, "a" * 1025, f" {FCM}", f"{FCM}\n", f"{FCM}/x", f"{FCM}\u00e9")),
    ],
)  # fmt: skip
def test_what_firebase_registers_is_as_it_is(text: str, found: str | None) -> None:
    assert fcm_token(text) == sandbox_fcm_token(text) == found


def test_a_device_counts_by_the_kind_of_its_platform() -> None:
    both: Served = {**SERVED, "push": {**SERVED["push"], "android": "fcm"}}
    assert canonical(both, "push", "Android", FCM) == FCM
    assert canonical(both, "push", "ios", FCM) is None
    assert canonical(both, "push", "android", "503-x") is None
    assert canonical({"push": {"android": "fcm_sandbox", "*": "apns"}}, "push", "android", "503-x") == "503-x"


@pytest.mark.parametrize(
    "name", ["hang-a", "rst-", "drop-x", "gone-aB.c_d", "bad-1", "slow20-x", "503-x", "429x12-y", "410-"]
)
def test_the_simulator_takes_the_names_of_its_misbehaviours(name: str) -> None:
    assert sandbox_token(name) == name
    assert Misbehaviours().of(name) != Misbehaviours().of(HEX)


@pytest.mark.parametrize(
    "token",
    ["badc0ffee0ddf00d" * 4, "503" + "0" * 61, "bad" + "0" * 61, "dead", "tok1", "hanging-x", "gone", "6xx-"],
)
def test_nothing_else_is_taken_for_one(token: str) -> None:
    assert sandbox_token(token) == device_token(token)
    assert Misbehaviours().of(token) == Misbehaviours().of(HEX)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a@b.c", "a@b.c"), ("A.b+Tag@Mail.EXAMPLE.com", "A.b+Tag@mail.example.com"), ("a@b", "a@b"),
        ("a@b\u00fccher.example", "a@xn--bcher-kva.example"), ("a@B\u00dcCHER.example", "a@xn--bcher-kva.example"),
        ("a@xn--bcher-kva.example", "a@xn--bcher-kva.example"), ("o'brien@example.com", "o'brien@example.com"),
        ("x" * 64 + "@b.c", "x" * 64 + "@b.c"), ("#$&*/=?^_{|}~-@b.c", "#$&*/=?^_{|}~-@b.c"),
        ("A1@B-2.c3", "A1@b-2.c3"), ("a@\uff45xample.com", "a@example.com"), ("a@example\u3002com", "a@example.com"),
    ],
)  # fmt: skip
def test_mailboxes_and_their_one_form(text: str, found: str) -> None:
    assert mailbox(text) == found
    assert mailbox(found) == found


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "a@", "@b.c", "a@b@c", 'a"b"@c.d', "a b@c.d", "a@b..c", "a@-b.c", "a@b-.c", "\u00e4@b.c", "a@b.c\n",
        "<a@b.c>", "a%b", "x" * 65 + "@b.c", "Ann <ann@x.example>", " a@x.example", "a@x.example ", "a@b_c.d",
        "a@" + "x" * 64 + ".c",
        "a@" + "x." * 130 + "c", "a@b\u00fc cher.example", "a@\u200b.example", "mailto:a@b.c",
        "a@[127.0.0.1]", "a@b.c.", "a%b@c.d", "host!a@b.c", "@b.c:a@d.e",
    ],
)  # fmt: skip
def test_what_is_no_plain_mailbox(text: str) -> None:
    assert mailbox(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("+4915112345678", "+4915112345678"), ("+49015112345678", "+4915112345678"), ("+15005550006", "+15005550006"),
        ("+390612345678", "+390612345678"), ("+19995031234", "+19995031234"), ("+5491123456789", "+5491123456789"),
        *((text, None) for text in (
            "", "+", "call me", "+49 151 12345678", "0049151123", "4915112345678", "+4915112345678\n", "+155512345",
            "+15551234567890", "+0123456789", "+999123456789", "+4915112345678 ", "+49-151-12345678",
            "+\u0664\u0669151123456",
            "+1555123456a",
        )),
    ],
)  # fmt: skip
def test_numbers_and_their_one_form(text: str, found: str | None) -> None:
    assert phone(text) == found


@given(st.from_regex(r"\A\+[1-9][0-9]{6,14}\Z"))
def test_a_form_is_its_own_form_and_possible(text: str) -> None:
    found = phone(text)
    assert found == parsed_phone(text)
    if found is not None:
        assert phone(found) == found
        assert phonenumbers.is_possible_number(phonenumbers.parse(found))


def test_what_no_provider_serves_is_no_address() -> None:
    assert canonical(SERVED, "push", "iOS", HEX.upper()) == HEX
    assert canonical(SERVED, "push", None, HEX) == HEX
    for channel, platform in (("push", "toaster"), ("push", "android"), ("webhook", None), ("chat", None)):
        assert canonical(SERVED, channel, platform, HEX) is None
        assert address_complaint(SERVED, channel, platform, HEX) is None
        assert unserved(SERVED, channel, platform) is not None
    assert canonical(SERVED, "email", None, "x") is None
    assert address_complaint(SERVED, "email", None, "x") is not None
    assert unserved(SERVED, "email", None) is None
    assert canonical(SERVED, "email", "ios", "a@b.c") == "a@b.c", "a channel without platforms asks for none"


@pytest.mark.parametrize(
    ("kind", "taken", "refused"),
    [
        ("web", "https://hooks.example.org/a", "https://10.7.0.1:9000/a"),
        ("web_private", "http://10.7.0.1:9000/a", "ftp://10.7.0.1/a"),
        ("web_sandbox", "https://127.0.0.1:9000/a", "https://hooks.example.org/a"),
    ],
)
def test_what_a_web_address_is_depends_on_where_requests_may_go(kind: str, taken: str, refused: str) -> None:
    served = {"webhook": {"*": kind}}
    assert canonical(served, "webhook", None, taken.replace("example", "EXAMPLE")) == taken
    assert canonical(served, "webhook", None, refused) is None
    complaint = address_complaint(served, "webhook", None, refused)
    assert complaint is not None
    assert "web address" in complaint[1][0] or "simulated" in complaint[1][0]


def test_where_nothing_is_known_of_providers_every_address_stays_as_it_is() -> None:
    assert canonical(None, "push", "toaster", "Any") == "Any"
    assert canonical(SERVED, "in_app", None, "x") == "x"
    assert canonical(None, "push", "ios", "") == ""
    assert canonical(SERVED, "push", "ios", "") is None
    assert unserved(None, "chat", None) is None


def test_a_device_is_in_the_charge_of_its_platform_or_of_who_has_the_rest() -> None:
    served = {"push": {"*": "apns", "ios": "apns", "android": "fcm"}, "email": {"*": "mail"}}
    assert is_served_by(served, "push", "iOS", {"push/*"})
    assert is_served_by(served, "push", None, {"push/*"})
    assert not is_served_by(served, "push", "android", {"push/*"})
    assert is_served_by(served, "push", "Android", {"push/android"})
    assert not is_served_by(served, "push", "ios", {"push/android", "email/*"})
    assert is_served_by(served, "email", None, {"email/*"})
    assert not is_served_by(None, "push", "ios", {"push/*"}), "where nothing is known of providers"
