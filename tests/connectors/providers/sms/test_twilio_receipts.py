"""Twilio's signature, held to Twilio's published example, and what its forms say: pure."""

from __future__ import annotations

import pytest

from connectors.providers.receipts import ProviderReport
from connectors.providers.sms.twilio_receipts import is_twilios, posted_form, read_status, twilio_signature

URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
FORM = [
    ("To", "+18005551212"), ("CallSid", "CA1234567890ABCDE"), ("Digits", "1234"), ("From", "+14158675309"),
    ("Caller", "+14158675309"),
]  # fmt: skip
SIGNED = "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def test_the_signature_is_that_of_twilios_example() -> None:
    assert twilio_signature(URL, FORM, "12345") == SIGNED
    assert twilio_signature(URL, [*FORM, FORM[0]], "12345") == SIGNED, "a field twice with one value counts once"
    assert is_twilios(URL, FORM, "12345", SIGNED)


@pytest.mark.parametrize("host", ["https://a.example{}/p?q=1", "http://[2001:db8::1]{}/p", "https://a.example{}?q=:9/"])
@pytest.mark.parametrize("told", ["", ":8443"])
def test_the_port_may_be_signed_or_not(host: str, told: str) -> None:
    """As Twilio's own libraries take it."""
    implied = ":443" if host.startswith("https") else ":80"
    for signed, taken in (("", True), (told or implied, True), (":8444", False)):
        signature = twilio_signature(host.format(signed), FORM, "12345")
        assert is_twilios(host.format(told), FORM, "12345", signature) is taken


@pytest.mark.parametrize(
    ("url", "form", "given"),
    [
        (URL + "3", FORM, SIGNED),
        (URL, FORM[1:], SIGNED),
        (URL, [*FORM, ("MessageStatus", "delivered")], SIGNED),
        (URL, FORM, SIGNED.lower()),
        (URL, FORM, "ü"),
        (URL, FORM, None),
    ],
)
def test_whatever_differs_is_not_signed(url: str, form: list[tuple[str, str]], given: str | None) -> None:
    assert not is_twilios(url, form, "12345", given)
    assert not is_twilios(URL, FORM, "12346", SIGNED)


@pytest.mark.parametrize(
    ("said", "outcome", "gone"),
    [
        ({"MessageStatus": "delivered"}, "delivered", False),
        ({"MessageStatus": "undelivered", "ErrorCode": "30003"}, "undelivered", False),
        ({"MessageStatus": "undelivered", "ErrorCode": "30005"}, "undelivered", True),
        ({"MessageStatus": "failed", "ErrorCode": "30006"}, "failed", True),
    ],
)
def test_final_stages_are_receipts(said: dict[str, str], outcome: str, gone: bool) -> None:
    form = [*said.items(), ("MessageSid", "SM1")]
    expected = ProviderReport(outcome, "r", "twilio", provider_id="SM1", reason=said.get("ErrorCode"), gone=gone)
    assert read_status(form, "r") == expected


@pytest.mark.parametrize("status", ["queued", "sent", "sending", "accepted", "scheduled", "read", "canceled", ""])
def test_other_stages_are_none(status: str) -> None:
    assert read_status([("MessageStatus", status)], "r") is None


@pytest.mark.parametrize("body", [b"\xff=1", b"&".join(b"a%d=1" % n for n in range(200))])
def test_what_is_no_form_has_no_fields(body: bytes) -> None:
    assert posted_form(body) == []
