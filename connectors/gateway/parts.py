"""What lives as long as a gateway process: stores, the appender, the follower, the credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from connectors.admission.interface import AdmissionStore
from connectors.admission.limits import LocalSenderLimit, SenderLimit
from connectors.admission.rocksdb import RocksAdmissionStore
from connectors.console.openid import OpenId
from connectors.console.sessions import LIFETIME, Sessions
from connectors.control import ControlWatcher
from connectors.gateway.admission import Admission
from connectors.gateway.ageing import Ageing
from connectors.gateway.auth import Authenticator
from connectors.gateway.cursor import shared_secret
from connectors.gateway.directory import Directory
from connectors.gateway.door import WINDOW, Door
from connectors.gateway.follow import Follower, OnRecord
from connectors.gateway.notifications import Kept
from connectors.gateway.options import PEOPLE, GatewayOptions
from connectors.gateway.read_overlay import ReadOverlay
from connectors.gateway.sender_limits import GrantedLimits
from connectors.gateway.tickets import Tickets
from connectors.gateway.user_limit import UserLimit
from connectors.gateway.writer import SettingWriter
from connectors.log.grouped import BatchingAppender
from connectors.log.interface import Log
from state.model.admission import AdmissionRules
from state.model.topics import AUDIT, ENDPOINTS, PREFERENCES, REGISTRY, SEGMENTS

_MILLISECOND = timedelta(milliseconds=1)
_LOG_DOWN_AFTER = timedelta(seconds=5)
"""An append that takes longer says that the log is down: those who come then hear so within a second."""
_READS_SINCE = timedelta(hours=1)
"""How far back a starting gateway looks for reads that the inbox may not hold yet."""
Background = Callable[[], Coroutine[Any, Any, None]]


class Parts:
    """What lives as long as the process: stores, the appender, the follower, the credentials."""

    def __init__(self, options: GatewayOptions, log: Log, rules: AdmissionRules, clock: Callable[[], int]) -> None:
        """Open the stores; the log stays the caller's to close."""
        self.options, self.log, self.rules, self.clock = options, log, rules, clock
        directory = options.store_directory()
        self.directory = Directory(directory / "directory.sqlite", rules.canonical_address)
        self.appender = BatchingAppender(log, down_after=_LOG_DOWN_AFTER)
        self.store, self.limit = _stores(options)
        self.overlay = ReadOverlay()
        self.limits = GrantedLimits()
        self.ending = asyncio.Event()
        secret = shared_secret(directory / "console.key", options.secret_of_all)
        secure = options.public_url.startswith("https:")
        people = {(key.sender_id, key.role, key.tag()) for key in options.keys if key.role in PEOPLE}
        keys = None if options.openid is not None else people
        self.watcher = ControlWatcher(log, process=options.process(), run_dir=options.directory / "run").start()
        revoked = self.watcher.revoked
        self.sessions = Sessions(secret, clock=clock, secure=secure, keys=keys, revoked=revoked)
        self.openid = None if options.openid is None else OpenId(options.openid, secret, clock=clock, secure=secure)
        self.user_limit = UserLimit(options.user_writes_per_s, clock=clock)
        errors = rules.text_errors
        self.authenticator = Authenticator(options.keys, options.users, text_errors=errors, revoked=revoked)
        self.admission = Admission(
            self.store, self.appender, log.partitions, clock=clock, kind=options.kind,
            append_deadline=options.append_deadline, pending_max=options.serving.pending_max,
        )  # fmt: skip
        deadline, forget = options.cancel_deadline, self.admission.forget
        self.kept = Kept(self.store, self.appender, forget=forget, deadline=deadline, clock=clock)
        self.door = Door(log, self.watcher, {key.sender_id for key in options.keys}, kind=options.kind)
        ordinary = options.kind == "ordinary"
        ticket_secret = shared_secret(directory / "ticket.key", options.secret_of_all)
        self.tickets = Tickets(ticket_secret, clock=clock) if ordinary else None
        self.writer = SettingWriter(self.appender, self.directory, log.partitions, deadline=options.append_deadline)
        age_max = options.token_age_max if ordinary else timedelta()
        self.background: list[Background] = []
        """What goes on beside the requests until the process ends."""
        if age_max:
            ageing = Ageing(self.directory, self.writer, age_max=age_max, clock=clock)
            self.background.append(lambda: ageing.run(lambda: self.follower.caught_up))
        others: dict[str, tuple[OnRecord, int | None]] = {
            REGISTRY: (self.limits.on_record, 0),
            "schedule": (self.kept.on_record, None),
            "dead_letters": (self.door.on_record, clock() - WINDOW // _MILLISECOND),
        }
        if ordinary:
            others[AUDIT] = self.sessions.on_record, clock() - LIFETIME // _MILLISECOND
            others["reads"] = (self.overlay.on_record, clock() - _READS_SINCE // _MILLISECOND)
        self.follower = Follower(
            log,
            self.directory,
            (PREFERENCES, ENDPOINTS, SEGMENTS) if ordinary else (),
            others=others,
        )


def _stores(options: GatewayOptions) -> tuple[AdmissionStore, SenderLimit]:
    if options.redis is not None:
        from connectors.admission.redis import RedisAdmissionStore, RedisSenderLimit  # heavy, and rarely configured

        return RedisAdmissionStore(options.redis), RedisSenderLimit(options.redis)
    return RocksAdmissionStore(options.store_directory() / "admission"), LocalSenderLimit()
