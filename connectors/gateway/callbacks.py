"""`POST /v1/callbacks/{provider}`: what providers say of messages that they took, for topic `outcomes`.

A callback counts if the provider signed it and we signed the reference in it. Without the first it is 401. Without the
second it is taken and changes nothing: it is about no delivery of ours. What comes again changes nothing either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import parse_qsl

import structlog

from connectors.gateway import schemas
from connectors.gateway.http import ApiRequest, ApiResponse
from connectors.gateway.options import CallbackOptions, GatewayOptions
from connectors.gateway.preferences import Preferences
from connectors.gateway.problems import ProblemError
from connectors.gateway.receipt_reader import ForgedError, ReceiptReader
from connectors.gateway.records import gone_record
from connectors.gateway.routes import Callers, Route
from connectors.gateway.writer import SettingWriter
from connectors.metrics import CALLBACKS_REFUSED
from connectors.outcomes import outcome_record
from connectors.providers.receipts import ProviderReport
from connectors.providers.sms.twilio_receipts import REFERENCE, is_twilios, posted_form, read_status
from state.model.admission import AdmissionRules
from state.model.outcome import COMPLAINED
from state.model.receipt import ReferenceKeys, SentDelivery
from state.model.unsubscribe import LinkKeys

TWILIO_SIGNATURE = b"x-twilio-signature"
_HOUR_MS = timedelta(hours=1) // timedelta(milliseconds=1)
_logger = structlog.get_logger(__name__)
_DONE = ApiResponse(204, b"")
_HEARD_BY = {"ses": "providers.ses.events_topic", "twilio": "providers.twilio and gateway.public_url"}
"""What has to be set until somebody's word is taken."""


@dataclass(frozen=True, slots=True)
class TwilioReceipts:
    """Those of a Twilio account."""

    auth_token: str = field(repr=False)
    url: str
    """Where Twilio was told to report, without what each message adds."""

    async def read(self, request: ApiRequest) -> ProviderReport | None:
        """See `ReceiptReader`."""
        form, query = posted_form(await request.body()), request.query_string()
        called = f"{self.url.partition('?')[0]}?{query}"
        if not is_twilios(called, form, self.auth_token, request.header(TWILIO_SIGNATURE)):
            raise ForgedError
        return read_status(form, dict(parse_qsl(query)).get(REFERENCE, ""))


class Callbacks:
    """Notes receipts in topic `outcomes`, and retires addresses that are gone."""

    def __init__(
        self,
        readers: Mapping[str, ReceiptReader],
        options: GatewayOptions,
        rules: AdmissionRules,
        writer: SettingWriter,
        preferences: Preferences,
        clock: Callable[[], int],
    ) -> None:
        """`readers` by provider. The keys of links sign references, too; `clock` in milliseconds since 1970."""
        self._readers = readers
        self._references, self._links = ReferenceKeys(options.link_keys), LinkKeys(options.link_keys)
        self._rules, self._writer, self._preferences = rules, writer, preferences
        self._gone_max, self._gone, self._clock = options.callbacks.gone_per_h, dict[SentDelivery, int](), clock

    async def post(self, request: ApiRequest) -> ApiResponse:
        """Note what it says; the provider is to repeat what was not answered.

        :raises ProblemError: 401, 404; 503: not noted.
        """
        reader = self._readers.get(request.parameters["provider"])
        if reader is None:
            raise ProblemError(404, _unheard(request.parameters["provider"]))
        try:
            receipt = await reader.read(request)
        except ForgedError as error:
            CALLBACKS_REFUSED.labels(request.parameters["provider"], error.reason).inc()
            raise
        sent = None if receipt is None else self._references.read(receipt.reference)
        if receipt is not None and sent is not None:
            await self._note(receipt, sent)
        return _DONE

    async def _note(self, receipt: ProviderReport, sent: SentDelivery) -> None:
        now, partitions = self._clock(), self._writer.partitions
        records = [
            outcome_record(
                receipt.outcome, user=sent.user, channel=sent.channel, device=sent.device,
                emission_id=sent.emission_id, provider=receipt.provider, provider_id=receipt.provider_id,
                reason=receipt.reason, at=now, partitions=partitions,
            )
        ]  # fmt: skip
        if receipt.gone and self._may_retire(sent, now):
            records.append(gone_record(sent.user, sent.channel, sent.device, sent.registered_at, partitions))
        if receipt.outcome == COMPLAINED:
            await self._leave(receipt, sent)
        await self._writer.append(records)

    async def _leave(self, receipt: ProviderReport, sent: SentDelivery) -> None:
        """Switch off what the mail's own link would, or marketing where it is not told."""
        link = self._links.read(receipt.link)
        categories = self._marketing() if link is None or link.user != sent.user else link.categories
        await self._preferences.unsubscribe(sent.user, sent.channel, categories)

    def _marketing(self) -> list[str]:
        """What bulk mail is, of what a person may switch off."""
        types = [self._rules.profile(name) for name in self._rules.type_names()]
        return sorted({each.category for each in types if each.klass == "P2" and not each.mandatory})

    def _may_retire(self, sent: SentDelivery, now: int) -> bool:
        """Providers err, too: of one hour no more than so many are believed, as of mails that come back."""
        self._gone = {each: at for each, at in self._gone.items() if at > now - _HOUR_MS}
        if sent not in self._gone and len(self._gone) >= self._gone_max:
            _logger.warning("address_not_retired", cause="limits.gone_per_h were retired within the hour")
            return False
        self._gone.setdefault(sent, now)
        return True


def _unheard(provider: str) -> str:
    """Why nobody of this name is heard; whoever sets it up sees no more than the answer."""
    if (setting := _HEARD_BY.get(provider)) is None:
        return f"no provider of this name reports here, but {' and '.join(_HEARD_BY)} may"
    return f"{provider} reports here once {setting} is set, and the gateway restarted"


def receipt_readers(options: CallbackOptions, clock: Callable[[], int]) -> dict[str, ReceiptReader]:
    """Those of the providers whose word is taken; `clock` in milliseconds since 1970."""
    readers: dict[str, ReceiptReader] = {}
    if options.twilio_url:
        readers["twilio"] = TwilioReceipts(options.twilio_auth_token, options.twilio_url)
    if options.ses_topic:
        from connectors.gateway.ses_callbacks import SesReceipts, fetch_by  # heavy, and rarely configured

        readers["ses"] = SesReceipts(options.ses_topic, fetch_by(options.egress), clock)
    return readers


def callback_calls(callbacks: Callbacks) -> list[Route]:
    """What providers call; each proves by its own signature who it is."""
    return [
        Route(
            "postCallback", "POST", "/v1/callbacks/{provider}", Callers.PUBLIC, "Say what became of a message",
            "For providers: `twilio` posts receipts of text messages, `ses` events of mails through Amazon SNS. "
            "401: the provider did not sign it, or too long ago. What is about no delivery of ours changes nothing.",
            callbacks.post, {204: None}, (401, 404, 503), body=schemas.CALLBACK_BODIES, needs_directory=True,
        ),
    ]  # fmt: skip
