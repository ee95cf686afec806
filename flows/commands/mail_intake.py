"""`carillon mail intake`: what mails that came back say, where the rest of the system reads it.

A hard bounce retires the address to which its mail was sent, as a push provider's "gone" does: by a record in
`endpoints`, which holds only for the registration of then. A complaint switches off by the gateway what the mail's own
link would, or marketing where the mail is not in it. Neither is believed of anybody: the envelope sender or the link,
or of a complaint the reference, must be one that was signed here, which beats whatever else the mail says. Bounces,
hard and soft, and complaints are noted in `outcomes` as well, once each, where the reference of their mail is in what
came back. Soft bounces change nothing else; delays and answers of machines change nothing at all.

All of it may be done again: a mail that is read twice, after a crash or by two at once, finds its work done. Of one
hour no more than `limits.gone_per_h` addresses are retired, all counted that the log says bounced or were refused: a
mailbox full of forged or mistaken bounces retires no more until a person has looked.
"""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from msgspec import UNSET

from connectors.gateway.records import gone_record
from connectors.log.interface import Log, NewRecord
from connectors.log.read_to_ends import stored_records
from connectors.outcomes import outcome_record
from connectors.providers.email.mailboxes import StoredMail, stored_mails
from connectors.providers.email.message import REFERENCE_HEADER
from connectors.providers.email.returned.classify import classify
from connectors.providers.email.returned.seen import fields_of
from connectors.providers.email.returned.values import Returned
from connectors.providers.receipts import code_of
from connectors.types import types_in_force
from flows.commands.output import Output
from flows.config.settings import Settings
from flows.process.open import clock_ms
from state.model.bounce_address import BounceAddresses, SentTo, endpoint_name
from state.model.outcome import BOUNCED, COMPLAINED, OUTCOME, SOFT_BOUNCED
from state.model.receipt import ReferenceKeys, SentDelivery
from state.model.settings import ENDPOINT, EndpointRecord
from state.model.topics import ENDPOINTS, OUTCOMES
from state.model.unsubscribe import LinkKeys, Unsubscription

_CHANNEL = "email"
_HOUR_MS = 3_600_000
_LINK = re.compile(r"/v1/unsubscribe/([A-Za-z0-9_-]{40,2000})")
_PEOPLES = frozenset({"abuse", "fraud", "opt-out", "opt-out-list", "virus", "miscategorized", "other"})
"""Types of complaints that a reader makes; others are of servers (RFC 6591)."""
_PATIENCE_S = 30
_TRIES = 10
"""While the gateway asks for patience."""


class _Finding(NamedTuple):
    """A mail, and what of ours it is about."""

    file: str
    number: int
    kind: str
    complains: bool
    sent_to: SentTo | None
    link: Unsubscription | None
    sent: SentDelivery | None
    """The delivery that its reference names."""
    heard: NewRecord | None
    """Of the mail's delivery, for `outcomes`; None: nothing, or it does not say of which."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """An address on file to which one of the mails was sent."""

    user: str
    id: str
    registered_at: int
    active: bool


@dataclass(frozen=True)
class MailIntake:
    """Reads mails into a system, running or not; complaints need its gateway."""

    settings: Settings
    log: Log
    addresses: BounceAddresses
    links: LinkKeys
    references: ReferenceKeys
    output: Output
    url: Callable[[], str | None]
    """Of the gateway as it is now; None: it does not run."""
    believe_all: bool = False
    """Somebody has looked: no limit holds."""

    def run(self, paths: Sequence[Path]) -> bool:
        """Say for each mail what became of it; true if nothing is left to do."""
        return all(self.take(mail for path in paths for mail in stored_mails(path)))

    def take(self, mails: Iterable[StoredMail], unsigned: Container[int] = ()) -> list[bool]:
        """Do what each mail says, and tell it; whether nothing of it is left to do. Durable when it returns.

        `unsigned`: numbers of those that came to an address that anybody may know: nothing but their complaints counts.

        :raises LogError: of some it may be done; all may come again.
        """
        findings = [
            found._replace(sent_to=None, heard=None) if found.number in unsigned and not found.complains else found
            for found in map(self._finding, mails)
        ]
        self._note([finding.heard for finding in findings if finding.heard is not None])
        endpoints, retired = self._endpoints({finding.sent_to for finding in findings if finding.sent_to is not None})
        room = self.settings.limits.gone_per_h - retired
        complete = []
        for finding in findings:
            endpoint = None if finding.sent_to is None else endpoints.get(finding.sent_to)
            if finding.complains:
                done = self._complained(finding, endpoint)
            elif finding.kind == "hard" and finding.number not in unsigned:
                done = self._bounced(finding, endpoint, room=self.believe_all or room > 0)
            else:
                done = "nothing"
            if done == "retired" and finding.sent_to is not None and endpoint is not None:
                room -= 1
                endpoints[finding.sent_to] = replace(endpoint, active=False)
            complete.append(done not in ("withheld", "no_gateway"))
            self._tell(finding, done)
        return complete

    def _finding(self, mail: StoredMail) -> _Finding:
        returned = classify(mail.raw)
        text = mail.raw.decode("latin-1")
        sent_to = next(self.addresses.read(f"{text}\n{returned.returned}"), None)
        complains = returned.kind == "complaint" and returned.feedback in _PEOPLES
        fields = fields_of(returned.returned)
        sent = self.references.read("".join(fields.get(REFERENCE_HEADER.lower(), "").split()))
        heard = self._heard(returned, sent, fields, complains=complains)
        return _Finding(mail.file, mail.number, returned.kind, complains, sent_to, self._link(returned), sent, heard)

    def _heard(
        self, returned: Returned, sent: SentDelivery | None, fields: Mapping[str, str], *, complains: bool
    ) -> NewRecord | None:
        failed = next((each for each in returned.recipients if each.kind == returned.kind), None)
        outcome = COMPLAINED if complains else _OUTCOMES.get(returned.kind)
        if sent is None or outcome is None or (failed is not None and failed.action == "delayed"):
            return None
        reason = returned.feedback if failed is None else "/".join(filter(None, (failed.cause, failed.status)))
        return outcome_record(
            outcome, user=sent.user, channel=sent.channel, device=sent.device, emission_id=sent.emission_id,
            provider="smtp", provider_id=code_of(fields.get("message-id")), reason=code_of(reason), at=clock_ms(),
            partitions=self.log.partitions,
        )  # fmt: skip

    def _note(self, records: Sequence[NewRecord]) -> None:
        """What `outcomes` does not hold yet: a mailbox that is read again and again must not fill the log."""
        new = {_question(record.value): record for record in reversed(records)}
        begins = {(OUTCOMES, each.partition): self.log.begin_offset(OUTCOMES, each.partition) for each in new.values()}
        for known in stored_records(self.log, begins) if new else ():
            new.pop(_question(known.value), None)
        if new:
            self.log.append(list(new.values()))

    def _link(self, returned: Returned) -> Unsubscription | None:
        """The link that the mail bore about which somebody complains."""
        header = "".join(fields_of(returned.returned).get("list-unsubscribe", "").split())
        tokens = _LINK.findall(header) or _LINK.findall(returned.returned)[:10]
        return next(filter(None, map(self.links.read, tokens)), None)

    def _endpoints(self, wanted: Iterable[SentTo]) -> tuple[dict[SentTo, _Endpoint], int]:
        """The addresses on file to which mails were sent, and how many were retired within the hour."""
        by_name: dict[bytes, list[SentTo]] = {}
        for sent_to in wanted:
            by_name.setdefault(sent_to.name, []).append(sent_to)
        if not by_name:
            return {}, 0
        keys = {sent_to.key for each in by_name.values() for sent_to in each}
        found: dict[SentTo, _Endpoint] = {}
        retired, since = 0, clock_ms() - _HOUR_MS
        for at, record in self._records():
            retired += record.gone_at is not UNSET and at > since
            for key in keys:
                for sent_to in by_name.get(endpoint_name(key, record.user, record.id), ()):
                    if sent_to.key == key and (merged := _merged(found.get(sent_to), record)) is not None:
                        found[sent_to] = merged
        return found, retired

    def _records(self) -> Iterator[tuple[int, EndpointRecord]]:
        places = [(ENDPOINTS, partition) for partition in range(self.log.partitions(ENDPOINTS))]
        for record in stored_records(self.log, {place: self.log.begin_offset(*place) for place in places}):
            if record.value:
                endpoint = ENDPOINT.decode(record.value)
                if endpoint.channel == _CHANNEL:
                    yield record.timestamp_ms, endpoint

    def _bounced(self, finding: _Finding, endpoint: _Endpoint | None, *, room: bool) -> str:
        if finding.sent_to is None or endpoint is None:
            return "not_ours"
        if not endpoint.active or endpoint.registered_at > finding.sent_to.registered_at:
            return "gone_before"
        if not room:
            return "withheld"
        gone_at = finding.sent_to.registered_at
        self.log.append([gone_record(endpoint.user, _CHANNEL, endpoint.id, gone_at, self.log.partitions)])
        return "retired"

    def _complained(self, finding: _Finding, endpoint: _Endpoint | None) -> str:
        link = finding.link
        if link is None and endpoint is not None:
            link = Unsubscription(endpoint.user, _CHANNEL, self._marketing(), endpoint.registered_at)
        elif link is None and finding.sent is not None and finding.sent.channel == _CHANNEL:
            link = Unsubscription(finding.sent.user, _CHANNEL, self._marketing(), finding.sent.registered_at)
        if link is None:
            return "not_ours"
        return "unsubscribed" if self._post(self.links.sign(link)) else "no_gateway"

    def _marketing(self) -> tuple[str, ...]:
        """What bulk mail is, of what a person may switch off."""
        registry = types_in_force(self.log, self.settings.types)
        bulk = [registry.profile(name) for name in registry.names()]
        return tuple(sorted({each.category for each in bulk if each.klass == "P2" and not each.mandatory}))

    def _post(self, token: str) -> bool:
        """As a mail program does whose reader pressed the button (RFC 8058)."""
        url = self.url()
        for _ in range(_TRIES if url is not None else 0):
            status = _posted(urlsplit(url or ""), f"/v1/unsubscribe/{token}")
            if status != http.client.TOO_MANY_REQUESTS:
                return status == http.client.OK
            time.sleep(1)
        return False

    def _tell(self, finding: _Finding, done: str) -> None:
        record = {"file": finding.file, "message": finding.number, "kind": finding.kind, "done": done}
        self.output.show(record, f"{finding.file}: {finding.kind}, {_DONE[done]}")


_OUTCOMES = {"hard": BOUNCED, "soft": SOFT_BOUNCED}


def _question(record: bytes) -> tuple[str, str | None, str, str | None, str]:
    """What is answered once."""
    said = OUTCOME.decode(record)
    return said.user, said.emission_id, said.channel, said.device, said.question


_DONE = {
    "nothing": "retires and unsubscribes nobody",
    "not_ours": "names no mail that was sent from here to an address on file",
    "gone_before": "its address is retired or registered again already",
    "retired": "its address is retired",
    "withheld": "NOT done: too many in an hour; look at them, then go on with --believe-all",
    "unsubscribed": "its reader is unsubscribed",
    "no_gateway": "NOT done: the gateway does not answer; start the system and do it again",
}


def _posted(gateway: SplitResult, path: str) -> int | None:
    """The status of the answer; None: there was none."""
    connection = http.client.HTTPConnection(gateway.hostname or "", gateway.port, timeout=_PATIENCE_S)
    try:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        connection.request("POST", path, b"List-Unsubscribe=One-Click", headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _merged(known: _Endpoint | None, record: EndpointRecord) -> _Endpoint | None:
    """What is on file after one more record; the word of a provider holds for registrations not newer than it."""
    if record.gone_at is UNSET:
        return _Endpoint(record.user, record.id, record.registered_at, record.state == "active")
    if known is None or known.registered_at > int(record.gone_at):
        return known
    return replace(known, active=False)
