"""Lanes as configured: what those of a station share, with a dispatcher for every provider."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from connectors.changes import Changes
from connectors.control import ControlWatcher
from connectors.log.owners import FencedLog
from connectors.log.topics import written_by
from connectors.providers.email.options import MailOptions
from connectors.providers.email.smtp import SmtpChannel
from connectors.providers.provider import PLACES
from connectors.providers.sms.smpp import SmppChannel
from connectors.templates import PublishedTexts
from connectors.types import PublishedTypes
from flows.config.access import link_keys
from flows.config.providers import InForce, providers_in_force
from flows.config.served import served
from flows.config.settings import Settings
from flows.process.cluster import cluster_place
from flows.process.load import report_load
from flows.process.open import clock_ms
from flows.process.place import keep_until_end, own_place
from flows.process.types import published_types
from flows.steps.lanes.parts import LaneParts
from flows.steps.lanes.verdicts import Verdicts
from flows.steps.sending.dispatcher import Dispatcher, DispatcherParts
from flows.steps.sending.late import LastLook
from flows.steps.sending.message import MailLinks
from flows.steps.sending.queue import ProviderBounds
from flows.steps.sending.rate import SendRate
from flows.steps.sending.receipts import ReceiptNotes, StoredTexts
from flows.steps.sending.texts import TextMessages
from operators.sms_limits import SmsGuard
from state.model.addresses import Place
from state.model.registry import RegistryInForce
from state.model.subscriptions import service_of_subscription
from state.model.topics import EVENTS_P0
from state.model.unsubscribe import LinkKeys

_WAITING_MAX = 8_000
"""For each lane, what may wait for a provider that is away: less than a lane has room for, so the others go on."""

_SWITCH_S = 0.0005
"""For so long a thread may keep the interpreter while others wait. The dispatcher's thread computes, and after each
call of a file or the log the lanes' thread waits for it; by default up to 5 ms each time."""


def build_lane_parts(
    settings: Settings,
    station: Literal["deliver", "transactional"],
    topics: Sequence[str],
    *,
    classes: int,
) -> tuple[Callable[[], FencedLog], LaneParts]:
    """Own the station's place; the dispatcher runs, and knows the kill switches. Gives what opens the log, too.

    `topics` are what the lanes read, with the partitions of so many `classes` one behind the other.

    :raises StateLockedError: a live process of this directory has the place.
    :raises ConfigurationError: a provider cannot be set up.
    """
    sys.setswitchinterval(_SWITCH_S)
    open_log = own_place(settings, station, written_by(station))
    log = open_log()
    watcher = ControlWatcher(log, process=cluster_place().name(station), run_dir=settings.data_dir / "run").start()
    keep_until_end(watcher)
    lanes = log.partitions(topics[0]) // classes
    types = published_types(settings, log)
    dispatcher = _build_dispatcher(settings, log, watcher, types, station, waiting_max=lanes * _WAITING_MAX)
    parts = LaneParts(
        station=station,
        directory=settings.data_dir / "state" / station,
        log=log,
        dispatcher=dispatcher,
        topics=topics,
        lanes=lanes,
        now_ms=clock_ms,
        run_ms=clock_ms(),
        types=types,
        verdicts=Verdicts(settings.limits.brake()),
        backlog=report_load(settings, station, log, lanes=lanes, away=dispatcher.queues.away),
        away=watcher.load.away,
    )
    return open_log, parts


def _build_dispatcher(
    settings: Settings,
    log: FencedLog,
    watcher: ControlWatcher,
    types: PublishedTypes,
    station: str,
    *,
    waiting_max: int,
) -> Dispatcher:
    """With connections of its own."""
    providers: dict[Place, list[ProviderBounds]] = {}
    for each in sorted(providers_in_force(settings).values(), key=lambda each: each.options.standby):
        options, channel = each.options, each.channel()
        rate = _send_rate(settings, each, channel.name, urgent=station == "transactional")
        bounds = ProviderBounds(
            channel, options.concurrency_max, rate, options.backlog_share, waiting_max, _service_of(each),
            drained=partial(watcher.drained, channel.name),
            ahead=channel.ahead if isinstance(channel, SmtpChannel) and station == "deliver" else int,
        )  # fmt: skip
        providers.setdefault(each.provider.place, []).append(bounds)
    published = PublishedTexts(log).start()
    keep_until_end(published)
    look = LastLook(
        is_stopped=lambda scope: watcher.stopped(scope) is not None,
        changes=Changes(log, now_ms=clock_ms(), served=served(settings)).start(),
        types=types,
        published=published,
    )
    dispatcher = Dispatcher(
        DispatcherParts(
            log=log,
            providers=providers,
            last_look=look,
            now_ms=clock_ms,
            uniform=random.uniform,
            station=station,
            links=mail_links(settings, types),
            texts=TextMessages(SmsGuard(settings.sms.rules())),
            fence=log.fence,
        )
    )
    # Texts are P0's (RULES 3.B), and an SMSC may hand a receipt to whoever asks for any.
    if station == "transactional":
        notes = ReceiptNotes(dispatcher.appender, log.partitions, now_ms=clock_ms)
        partitions = range(log.partitions(EVENTS_P0))
        for bounds in (each for of_place in providers.values() for each in of_place):
            if isinstance(bounds.channel, SmppChannel):
                bounds.channel.heard = notes
                bounds.channel.stored = StoredTexts(log, partitions, bounds.channel.name, now_ms=clock_ms)
    dispatcher.start()
    return dispatcher


def _service_of(provider: InForce) -> Callable[[str], str] | None:
    """Which of a provider's services takes an address, where each has a queue of its own."""
    if provider.provider.place == PLACES["webpush"]:
        return service_of_subscription
    options = provider.options
    return options.domain_of if isinstance(options, MailOptions) and options.domain_rates else None


def _send_rate(settings: Settings, provider: InForce, name: str, *, urgent: bool) -> SendRate:
    """What this process may send to it: with the others through Redis, or its part. P0 may always use all of it."""
    options, shared = provider.options, None
    if settings.redis is not None:
        from connectors.rates.redis import RedisBucket  # heavy, and rarely configured

        place = provider.provider.place
        shared = RedisBucket(settings.redis, place, name, rate_per_s=options.rate_per_s, p0_share=options.p0_share)
    part = (1.0 if urgent else 1.0 - options.p0_share) / cluster_place().processes
    make = partial(SendRate, name, options.rate_per_s, part=part, shared=shared, urgent=urgent)
    if isinstance(options, MailOptions):
        return make(rates=options.domain_rates, most_per_s=options.warmed_per_s)
    return make()


def mail_links(settings: Settings, types: RegistryInForce) -> MailLinks:
    """Links to the gateway as people reach it."""
    url = settings.gateway.public_url.rstrip("/")
    keys = LinkKeys(link_keys(settings) if url else ())
    return MailLinks(types, keys, url)
