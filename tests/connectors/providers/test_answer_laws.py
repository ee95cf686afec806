"""Whatever a provider answers is one of four results, and tells nothing that the ledger must not hold."""

from __future__ import annotations

import pytest
from helpers.deliveries import PUSH
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.providers.channel import Failed, Rejected, Sent, Throttled
from connectors.providers.email import ses, smtp, sns
from connectors.providers.email.ses_events import read_event
from connectors.providers.push import apns, fcm, webpush
from connectors.providers.push.fcm_token import AccessTokenError, parse_grant
from connectors.providers.sms import twilio
from connectors.providers.transport import Response
from connectors.providers.web import chat, webhook

DEEP = b"[" * 60_000
HOSTILE = (
    DEEP, b'{"other":' + DEEP, b'{"error":{"details":[{"fieldViolations":' + DEEP, b'{"name":"\xff"}',
    b'{"error":{"status":"\xed\xa0\x80"}}', b'{"name":"\\ud800"}', b'{"reason":"\\ud800"}', b'{"code":1e999}',
)  # fmt: skip
"""What no provider says, and what stands between may."""


@given(st.integers(100, 599), st.binary(max_size=200) | st.sampled_from(HOSTILE))
@example(200, HOSTILE[1])
@example(503, HOSTILE[2])
@example(200, HOSTILE[3])
@example(503, HOSTILE[4])
def test_no_answer_of_any_provider_crashes_or_leaks_into_the_result(status: int, body: bytes) -> None:
    response = Response(status, {}, body)
    results = [one.parse_response(response, PUSH) for one in (apns, fcm, webpush, twilio, ses, webhook, chat)]
    results.append(smtp.parse_response(smtp.SmtpResponse("data", status, body.decode("latin-1")), PUSH))
    assert all(isinstance(result, Sent | Rejected | Throttled | Failed) for result in results)
    assert all("a" * 64 not in repr(result) for result in results)


def test_what_is_no_answer_grants_no_token_and_is_no_message_of_amazon() -> None:
    for status in (200, 401, 503):
        for body in HOSTILE:
            with pytest.raises(AccessTokenError):
                parse_grant(Response(status, {}, body))
    assert [sns.decode_sns(body) for body in HOSTILE] == [None] * len(HOSTILE)
    assert [read_event(body.decode("latin-1")) for body in HOSTILE] == [None] * len(HOSTILE)
