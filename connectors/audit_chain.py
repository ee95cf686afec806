"""The chain of topic `audit`: each act attests what was noted before it, so that nothing there can be changed unseen.

The digest of a record is SHA-256 of the digest of the record before it (32 zero bytes for the first) and of what the
record is: key, value, headers `schema` and `before`, each as length u32 (big-endian) and bytes. The header `before` of
an act, `OFFSET:HEX`, is the digest of the newest record that its writer had read; -1 and zeros where there was none.

Several processes append at once. So that record may be some places back; later acts attest what is between. Who
starts goes on from what the newest act attests. A change is found once a later act attests the place. What nobody
attests yet is found by whoever noted the end of the chain somewhere else.
"""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Iterable
from datetime import timedelta
from hashlib import sha256
from typing import NamedTuple

from connectors.audit import audit_record
from connectors.log.interface import Log, NewRecord, Record
from connectors.log.read_to_ends import stored_records
from state.model.audit import AuditRecord
from state.model.errors import AuditFaultError
from state.model.topics import AUDIT

HEADER = "before"
_COVERED = ("schema", HEADER)
_LENGTH = struct.Struct(">I")
_WAIT = timedelta(seconds=5)
_LOOK = 64
_BACK_MAX = 65_536
"""How many places back an act may attest; a writer is a moment behind."""


class Link(NamedTuple):
    """A place in the topic, and the digest of its record."""

    offset: int
    digest: bytes

    @property
    def text(self) -> str:
        """As the header has it."""
        return f"{self.offset}:{self.digest.hex()}"


_BEGIN = Link(-1, bytes(32))


def chain_link(text: str) -> Link | None:
    """What a text says; None: it is no link."""
    offset, _, digest = text.partition(":")
    try:
        found = Link(int(offset), bytes.fromhex(digest))
    except ValueError:
        return None
    return found if found.text == text and len(found.digest) == len(_BEGIN.digest) else None


def attested(record: Record) -> Link | None:
    """What a record attests; None: nothing, since it is older than the chain or its header is no link."""
    link = chain_link((dict(record.headers).get(HEADER) or b"").decode("ascii", "replace"))
    return None if link is None or link.offset >= record.offset else link


def _after(before: bytes, record: Record) -> bytes:
    """The digest of a record."""
    headers = dict(record.headers)
    hashed = sha256(before)
    for part in (record.key or b"", record.value or b"", *(headers.get(name) or b"" for name in _COVERED)):
        hashed.update(_LENGTH.pack(len(part)) + part)
    return hashed.digest()


class AuditChain:
    """Makes the records of acts of one writer; a process may have several. Any thread may call it, and waits for
    the log.
    """

    def __init__(self, log: Log) -> None:
        """The log stays the caller's to close; it is read when the first act is noted."""
        self._log, self._lock = log, threading.Lock()
        self._last: Link | None = None

    def record(self, act: AuditRecord) -> NewRecord:
        """What is appended for an act.

        :raises LogError: what was noted before cannot be read, so the act must not happen.
        """
        with self._lock:
            end = self._log.end_offset(AUDIT, 0)
            last = self._newest_attested(end) if self._last is None else self._last
            start = max(last.offset + 1, self._log.begin_offset(AUDIT, 0))
            for record in stored_records(self._log, {(AUDIT, 0): start}, {(AUDIT, 0): end}, deadline=_WAIT):
                last = Link(record.offset, _after(last.digest, record))
            self._last = last
            plain = audit_record(act)
            return plain._replace(headers=(*plain.headers, (HEADER, last.text.encode())))

    def _newest_attested(self, end: int) -> Link:
        """Looks back from the end for an act that attests something."""
        begin, look = self._log.begin_offset(AUDIT, 0), _LOOK
        while end > begin:
            first = max(begin, end - look)
            records = [*stored_records(self._log, {(AUDIT, 0): first}, {(AUDIT, 0): end}, deadline=_WAIT)]
            for record in reversed(records):
                if (link := attested(record)) is not None:
                    return link
            end, look = first, 2 * look
        return _BEGIN


class CheckedAudit(NamedTuple):
    """What a look through the whole topic found."""

    acts: int
    older: int
    """Of these, without a link of their own: a later act attests them all the same."""
    last: Link
    """The end of the chain. Noted elsewhere, it shows later that nothing of this was changed."""
    sure_to: int
    """The newest place that a later act attests; -1: none."""


def checked_audit(records: Iterable[Record], known: Link | None = None) -> CheckedAudit:
    """Follow the chain from the topic's first record. `known`: an end that somebody noted.

    :raises AuditFaultError: a record was changed, removed, added or moved; the text says between which offsets.
    """
    last, acts, older, sure_to = _BEGIN, 0, 0, _BEGIN.offset
    places = OrderedDict({_BEGIN.offset: _BEGIN.digest})
    for record in records:
        link = attested(record)
        if link is None and HEADER in dict(record.headers):
            raise AuditFaultError(f"the act at {record.offset} names no record before it")
        if link is None:
            older += 1
        elif places.get(link.offset) != link.digest:
            raise AuditFaultError(f"{_where(sure_to, link.offset)} is not what the act at {record.offset} found there")
        else:
            sure_to = max(sure_to, link.offset)
        acts, last = acts + 1, Link(record.offset, _after(last.digest, record))
        places[last.offset] = last.digest
        if known is not None and last.offset == known.offset and last != known:
            raise AuditFaultError(f"{_where(sure_to, known.offset)} is not what was noted of it")
        if len(places) > _BACK_MAX:
            places.popitem(last=False)
    if known is not None and known.offset > last.offset:
        raise AuditFaultError(f"the audit ends at {last.offset}, and an end at {known.offset} was noted")
    return CheckedAudit(acts, older, last, sure_to)


def _where(sure_to: int, offset: int) -> str:
    return f"what is noted from {sure_to + 1} to {offset}"
