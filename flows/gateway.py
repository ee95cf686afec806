"""One gateway process: `python -m flows.gateway ordinary` or `python -m flows.gateway p0`.

With `--behind PROCESS ...` it takes nothing until these are ready. A system whose flows refuse to start, since their
state and the log do not fit, has then accepted nothing.

Both are the same program with stores, log handle and port of their own (DECISIONS, P0 shares nothing). The P0 gateway
takes events of class P0 and nothing else, so that nothing else can delay them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from functools import cache, partial
from pathlib import Path

import structlog

from connectors.gateway.app import build_app
from connectors.gateway.backstage import Backstage
from connectors.gateway.inbox_calls import ReadableInbox
from connectors.gateway.options import GatewayKind
from connectors.gateway.serve import serve
from connectors.log.interface import Log
from connectors.metric_files import METRICS, keep_writing
from connectors.templates import PublishedTexts
from connectors.types import PublishedTypes
from flows.config.access import gateway_options
from flows.config.private_files import exposed_files
from flows.config.served import served
from flows.config.settings import Settings, configuration_file, load_settings
from flows.process.directories import LEDGER
from flows.process.expiry import keep_watching
from flows.process.inboxes import inbox_reader
from flows.process.memory import settle_memory
from flows.process.noted_configuration import note_configuration
from flows.process.open import clock_ms, keep_looking_at_clock, log_opener
from flows.process.opening import open_configured_log
from flows.process.run_files import mark_ready, ready_file
from flows.process.wild_clock import refuse_wild_clock
from operators.admit import Rules
from operators.preview import WrittenTexts
from operators.render import render_row
from state.disk.lock import StateLock
from state.model.ledger import EventCounts
from state.model.registry import RegistryInForce

_logger = structlog.get_logger(__name__)


def run(settings: Settings, kind: GatewayKind, behind: Sequence[str] = ()) -> None:
    """Serve until SIGTERM, once the processes `behind` it are ready; owns the directory of its stores.

    :raises StateLockedError: another gateway of this kind uses the data directory.
    """
    options = gateway_options(settings, kind)
    keep_looking_at_clock()
    _await_log(settings)
    with StateLock.acquire(options.store_directory(), f"gateway {kind}"):
        if kind == "p0":
            keep_writing(settings.data_dir / METRICS, options.process())  # for the console, which the other one shows
        else:
            keep_watching(settings, options.store_directory(), clock_ms)
            _say_exposed(settings)
        log = open_configured_log(settings)
        inbox = inbox_reader(settings.data_dir, log, settings.inbox.in_redis()) if kind == "ordinary" else None
        published, types = PublishedTexts(log), PublishedTypes(log, settings.types)
        try:
            types.start()
            if inbox is not None:
                published.start()
                where, process = options.store_directory(), options.process()
                note_configuration(settings, log, where, process=process, now_ms=clock_ms())
            rules = rules_in_force(settings, types)
            app = build_app(
                options,
                log=log,
                types=types,
                rules=rules,
                clock=clock_ms,
                inbox=None if inbox is None else ReadableInbox(inbox, partial(render_row, published=published.texts)),
                progress=partial(_progress, settings.data_dir / LEDGER, log),
                backstage=None if kind == "p0" else cache(partial(open_backstage, settings, log, types)),
                texts=WrittenTexts(rules.profile, settings.sms.rules()),
            )
            settle_memory()
            serve(
                options,
                app,
                on_ready=lambda _port: mark_ready(settings.data_dir, options.process()),
                may_serve=lambda: all(ready_file(settings.data_dir, name).exists() for name in behind),
            )
        finally:
            published.close()
            types.close()
            if inbox is not None:
                inbox.close()
            log.close()


def _say_exposed(settings: Settings) -> None:
    for fault in exposed_files(settings, configuration_file()):
        _logger.warning("secrets_exposed", problem=fault)


def rules_in_force(settings: Settings, types: RegistryInForce) -> Rules:
    """What is accepted."""
    keep_max_ms = settings.limits.keep_max // timedelta(milliseconds=1)
    retention_ms = settings.log.retention // timedelta(milliseconds=1)
    return Rules(types, keep_max_ms=keep_max_ms, retention_ms=retention_ms, served=served(settings))


def _await_log(settings: Settings) -> None:
    """Wait for brokers as flows do: a process that ended would still be in a back-off when they are back."""
    log = log_opener(settings)()
    try:
        log.end_offset("control", 0)
        refuse_wild_clock(log, clock_ms(), settings.log.rest_max)
    finally:
        log.close()


def _progress(archive: Path, log: Log, event_id: str) -> EventCounts:
    from connectors.archive.ledger import LedgerReader  # with pyarrow, which is heavy, and needed by this alone

    return LedgerReader(archive, log).progress(event_id)


def open_backstage(settings: Settings, log: Log, types: RegistryInForce) -> Backstage:
    """What the ledger tells."""
    from flows.commands.backstage import LogBackstage  # with pyarrow again

    return LogBackstage(settings.data_dir, log, types, settings.inbox.in_redis())


def main(arguments: Sequence[str]) -> None:
    """See the module's text."""
    kind, option, behind = arguments[:1], arguments[1:2], arguments[2:]
    if list(kind) not in (["ordinary"], ["p0"]) or list(option) not in ([], ["--behind"]):
        sys.stderr.write("usage: python -m flows.gateway ordinary|p0 [--behind PROCESS ...]\n")
        sys.exit(2)
    run(load_settings(), "p0" if arguments[0] == "p0" else "ordinary", behind)


if __name__ == "__main__":
    main(sys.argv[1:])
