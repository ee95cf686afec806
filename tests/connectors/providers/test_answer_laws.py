"""Whatever a provider answers is one of four results, and tells nothing that the ledger must not hold."""

from __future__ import annotations

from helpers.deliveries import PUSH
from hypothesis import given
from hypothesis import strategies as st

from connectors.providers.channel import Failed, Rejected, Sent, Throttled
from connectors.providers.email import ses, smtp
from connectors.providers.push import apns, fcm, webpush
from connectors.providers.sms import twilio
from connectors.providers.transport import Response
from connectors.providers.web import chat, webhook


@given(st.integers(100, 599), st.binary(max_size=200))
def test_no_answer_of_any_provider_crashes_or_leaks_into_the_result(status: int, body: bytes) -> None:
    response = Response(status, {}, body)
    results = [one.parse_response(response, PUSH) for one in (apns, fcm, webpush, twilio, ses, webhook, chat)]
    results.append(smtp.parse_response(smtp.SmtpResponse("data", status, body.decode("latin-1")), PUSH))
    assert all(isinstance(result, Sent | Rejected | Throttled | Failed) for result in results)
    assert all("a" * 64 not in repr(result) for result in results)
