"""A gateway in a process of its own, over the embedded log, with named misbehaviours of the log.

Misbehaviours are files in DIR/faults. `refuse_preferences`: the log acknowledges no document of preferences;
`refuse_kills` nothing for `control`, and `refuse_audit` nothing for `audit`. `unreadable`: it tells no end of a
partition. `unread_preferences`: whoever reads `preferences` waits while it is there, so nobody knows what is true now.
`crash_confirmed`: the process ends at once when the log has a second person's confirmation; `crash_discarded`: when it
has that a dead letter was discarded. Others are looked for at every append of an event: `refuse` (the log does not
acknowledge), `crash_before` and `crash_after` (the process ends at once, before or after the append), `hang` (no answer
while it is there). `patience_s`: how long it waits for the log, and for the rest of what a client sends.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec

from connectors.admission.options import RedisOptions
from connectors.gateway.app import build_app
from connectors.gateway.inbox_calls import ReadableInbox
from connectors.gateway.options import (
    CallbackOptions,
    GatewayOptions,
    OpenIdOptions,
    ServeOptions,
    ServiceKey,
    UserTokens,
    hash_key,
)
from connectors.gateway.serve import serve
from connectors.inbox.options import InboxRedisOptions
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.embedded.reading import EmbeddedReader
from connectors.log.interface import NewRecord
from connectors.types import PublishedTypes
from flows.commands.backstage import LogBackstage
from flows.process.inboxes import inbox_reader
from operators.admit import Rules
from operators.preview import WrittenTexts
from operators.render import render_row
from operators.sms_limits import Destination, SmsRules
from state.model.addresses import Served
from state.model.errors import LogUnavailableError
from state.model.ledger import EventCounts
from state.model.secret import Secret

SERVED: Served = {
    "push": {"ios": "apns", "web": "webpush fcm.googleapis.com", "*": "apns"}, "sms": {"*": "e164"},
    "email": {"*": "mail"}, "webhook": {"*": "web"},
}  # fmt: skip
USER_SECRET = "a secret of thirty-two bytes or more, for tests"
LINK_KEYS = (b"the present key of links, for tests", b"the key before, for tests; longer")
KEYS = (
    ServiceKey(hash_key("key-shop"), "producer", "shop", limit_per_s=1_000_000),
    ServiceKey(hash_key("key-other"), "producer", "other", limit_per_s=1_000_000),
    ServiceKey(hash_key("key-slow"), "producer", "slow", limit_per_s=5),
    ServiceKey(hash_key("key-p0"), "p0", "auth", classes=("P0",), limit_per_s=1_000_000),
    ServiceKey(hash_key("key-all"), "producer", "all", classes=("P0", "P1", "P2"), limit_per_s=1_000_000),
    ServiceKey(hash_key("key-likes"), "producer", "likes", types=("like",), limit_per_s=1_000_000),
    ServiceKey(hash_key("key-ops"), "ops", "ops"),
    ServiceKey(hash_key("key-marketing"), "marketing", "marketing"),
    ServiceKey(hash_key("key-support"), "support", "support"),
    ServiceKey(hash_key("key-admin"), "admin", "admin"),
)


class FaultyLog(EmbeddedLog):
    """The embedded log, misbehaving on order."""

    faults: Path

    def end_offset(self, topic: str, partition: int) -> int:
        if (self.faults / "unreadable").exists():
            raise LogUnavailableError("unreadable on order")
        return super().end_offset(topic, partition)

    def reader(self, start: Mapping[tuple[str, int], int]) -> EmbeddedReader:
        while ("preferences", 0) in start and (self.faults / "unread_preferences").exists():
            time.sleep(0.05)
        return super().reader(start)

    def append(self, records: Sequence[NewRecord]) -> list[int]:
        if (self.faults / "refuse_preferences").exists() and any(record.topic == "preferences" for record in records):
            raise LogUnavailableError("refused on order")
        if (self.faults / "refuse_audit").exists() and any(record.topic == "audit" for record in records):
            raise LogUnavailableError("refused on order")
        confirmed = any(b'"step":"confirmed"' in record.value for record in records)
        if confirmed and (self.faults / "crash_confirmed").exists():
            super().append(records)
            os._exit(44)
        if (self.faults / "refuse_kills").exists() and any(record.topic == "control" for record in records):
            raise LogUnavailableError("refused on order")
        if (self.faults / "crash_discarded").exists() and any(record.topic == "dead_letters" for record in records):
            super().append(records)
            os._exit(45)
        if not any(record.topic.startswith("events.") for record in records):
            return super().append(records)
        if (self.faults / "refuse").exists():
            raise LogUnavailableError("refused on order")
        while (self.faults / "hang").exists():
            time.sleep(0.05)
        if (self.faults / "crash_before").exists():
            os._exit(42)
        offsets = super().append(records)
        if (self.faults / "crash_after").exists():
            os._exit(43)
        return offsets


def progress_in(path: Path, event_id: str) -> EventCounts:
    """Progress from a file, as the ledger would give it."""
    counts: dict[str, dict[str, int]] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    return EventCounts(counts.get(event_id, {}))


def clock() -> int:
    return time.time_ns() // 1_000_000


def main(config: dict[str, Any]) -> None:
    directory = Path(config["directory"])
    log = FaultyLog(Path(config.get("log", directory)), clock=clock)
    log.faults = directory / "faults"
    patience = timedelta(seconds=config.get("patience_s", 30))
    options = GatewayOptions(
        directory,
        keys=tuple(key for key in KEYS if key.sender_id not in config.get("without", ()))
        + tuple(ServiceKey(hash_key(key), role, name) for name, role, key in config.get("more_keys", ())),
        users=UserTokens(USER_SECRET),
        kind=config.get("kind", "ordinary"),
        redis=RedisOptions(config["redis"], prefix=config.get("prefix", str(directory)), deadline=timedelta(seconds=20))
        if config.get("redis")
        else None,
        append_deadline=patience,
        cancel_deadline=timedelta(seconds=config.get("cancel_deadline_s", 20)),
        body_deadline=patience,
        head_deadline=patience,
        link_keys=LINK_KEYS,
        secret_of_all=config.get("secret_of_all", "").encode(),
        fallback_limit_per_s=3,
        port=config.get("port", 0),
        serving=msgspec.convert(config.get("serving", {}), ServeOptions),
        callbacks=CallbackOptions(**config.get("callbacks", {})),
        allowed_origins=tuple(config.get("allowed_origins", ())),
        user_writes_per_s=config.get("user_writes_per_s", 100_000),
        fan_outs_per_h=config.get("fan_outs_per_h", 0),
        openid=msgspec.convert(config["openid"], OpenIdOptions, dec_hook=lambda _type, text: Secret(text))
        if config.get("openid")
        else None,
    )
    in_redis = InboxRedisOptions(config["inbox_redis"]) if config.get("inbox_redis") else None
    inbox = inbox_reader(directory, log, in_redis)
    types = PublishedTypes(log, config.get("types", {})).start()
    rules = Rules(types, served=SERVED)
    progress = partial(progress_in, directory / "progress.json")
    backstage = cache(partial(LogBackstage, directory, log, types))
    readable = ReadableInbox(inbox, render_row)
    prices = SmsRules(destinations={"+49": Destination(price=0.07)}, others=Destination(price=0.1))
    app = build_app(
        options, log=log, rules=rules, clock=clock, inbox=readable, progress=progress, backstage=backstage,
        texts=WrittenTexts(rules.profile, prices), types=types,
    )  # fmt: skip
    serve(options, app, on_ready=lambda port: print(port, flush=True))
    types.close()
    inbox.close()
    log.close()


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1]))
