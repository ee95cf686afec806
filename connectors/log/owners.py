"""One live process per place of a flow, across directories and hosts, by claims in the log (DECISIONS, One live owner).

A place is a flow and a process's number in it (`decide/0`). A process that starts appends a claim to the topic `owners`
(compacted, one partition): key the place, value `owner/1+json` {"host","lock","pid","processes","at","version",
"workers","since"}. A claim is numbered by its offset, its epoch; the highest of a place holds. A claim of process 0
also ends the places from `processes` on, so that a flow that now has fewer processes leaves no owner behind.

A process may be stopped, frozen or cut off, and go on after another one has taken its place over. What it can still do:

- Both logs: nothing new. An append needs a look into `owners` that is younger than the lease: one second, by a clock
  that counts while the process is stopped or the machine sleeps. An older look is renewed first; one that finds another
  claim ends the process. A new owner waits for a lease, unless the old one is known to be dead (`is_dead`). From then
  on the old one starts no append, and sends nothing that follows one.
- Embedded log, appends under way: nothing is appended. Claims are written to every partition file that the flow writes,
  under the file's write lock, and an append checks them in its own transaction. No wait is needed.
- Kafka, appends under way (in the owner's client, or in a broker that is frozen): they may still arrive, and are void.
  The new owner writes a marker into every partition of the flow's topics that are not compacted. Readers skip what the
  old one appends behind it (`connectors.log.kafka.fencing`). The new owner restores its state after it wrote the
  markers, so it finds everything before them.
- Kafka, compacted topics: a record under way may arrive late and stay, as the newest of its key. There are no markers,
  since compaction could drop the valid record and keep the void one. What a late record does:
  - `schedule`: an order to release, or an answer, counts at its place. The order was due when it was appended. It does
    not release an event that is not kept any more, and a cancel behind it is answered so. The event itself goes to a
    topic that is not compacted, so it is released once.
  - `campaigns`: an order to release a chunk counts at its place, if the campaign runs there and the chunk was not
    ordered before. Its event goes to a topic that is not compacted.
  - `endpoints`: that a provider knows an address no more counts for what was registered before it, however late it is.
  - `followers`: the pair has an earlier state of `follows`. It is wrong until the pair's next record if a newer one was
    written meanwhile. No decision uses this topic: decide keeps its own.
  - `control`: how loaded the old one was. The successor says its own level within seconds if it is loaded; if not, the
    late one is forgotten after a minute.
  - `registry`: decide's note of its credit, which may be lower than its successor's. A rebuild uses the highest of all
    notes and of the configuration.
- Sends follow the append of their intent, and need the same young look just before the first byte. A request that was
  already in the HTTP client may still go out. Its intent is in the log, so the successor does not send it again (but
  for P0, which is sent at least once) and closes it as UNKNOWN.

A thread of each process renews the look three times per lease, so that appends and sends do not wait for it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import OWNERS, Claim, ClaimableLog, Log, NewRecord, Reader, Record, TopicSpec
from connectors.log.read_to_ends import stored_records
from connectors.metrics import PROGRAM_VERSION
from state.model.errors import LogError, StateFencedError

TOPIC = OWNERS
SCHEMA = b"owner/1+json"
LEASE = timedelta(seconds=1)
"""How old a look may be on which an append or a send relies."""
_READ_DEADLINE = timedelta(minutes=1)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_SPACE = Path("/proc/self/ns/pid")
_logger = structlog.get_logger(__name__)


class OwnerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A claim as `owners` holds it."""

    host: str
    lock: str
    """Which lock file the owner holds as long as it lives, see `lock_identity`."""
    pid: int
    processes: int
    """Of the flow, as of this claim."""
    at: int
    """Unix milliseconds."""
    version: str = ""
    """Of Carillon, which the process runs; empty: of before it was told."""
    workers: int = 1
    """Of the process."""
    since: int = 0
    """When its place was first claimed with this version and as many processes and workers; 0: with this claim."""


def lock_identity(lock_file: Path) -> str:
    """Where a lock file is that this process holds: start of the kernel, space of process numbers, device, inode."""
    started = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else socket.gethostname()
    numbers = os.stat(_PID_SPACE).st_ino if _PID_SPACE.exists() else 0  # noqa: PTH116 - the link's target, not the link
    status = lock_file.stat()
    return f"{started}:{numbers}:{status.st_dev}:{status.st_ino}"


def is_dead(before: OwnerRecord, mine: OwnerRecord) -> bool:
    """Whether an owner cannot live any more, as far as one that holds its own lock can tell."""
    theirs, ours = before.lock.split(":"), mine.lock.split(":")
    if theirs[0] != ours[0]:  # the lock file is the same, the machine was restarted
        return before.host == mine.host and theirs[-1] == ours[-1]
    return theirs[2:] == ours[2:] or (theirs[1] == ours[1] and not lives(before.pid))


def lives(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


RUNNING_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""No one sets it. It goes on while the process is stopped or the machine asleep, like the other where it is missing."""


def running_seconds() -> float:
    """Seconds on that clock."""
    return time.clock_gettime(RUNNING_CLOCK)


class Fence:
    """This process's claim on its place. Any thread may ask."""

    def __init__(self, log: Log, claim: Claim, *, on_lost: Callable[[StateFencedError], None]) -> None:
        """A claim that was appended to `log`, which stays the caller's to close.

        `on_lost` is called once, by the thread that notices: whatever the process still does would be done twice.
        """
        self.claim = claim
        self._log, self._on_lost = log, on_lost
        self._read_to = claim.epoch + 1
        self._looked_at = float("-inf")
        self._lost: StateFencedError | None = None
        self._looking = threading.Lock()
        self._closed = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"fence-{claim.owner}", daemon=True)

    def start(self) -> None:
        """Keep the look young from now on."""
        self._keeper.start()

    def is_fresh(self) -> bool:
        """Whether the last look is young enough to rely on; waits for nothing."""
        return self._lost is None and running_seconds() - self._looked_at < LEASE.total_seconds()

    def check(self) -> None:
        """Return only if this process owns its place.

        :raises StateFencedError: another one does.
        :raises LogUnavailableError: the log does not answer.
        """
        if not self.is_fresh():
            self.look()

    def look(self) -> None:
        """Read `owners` to its end as of now; raises as `check` does."""
        with self._looking:
            if self._lost is not None:
                raise self._lost
            began = running_seconds()
            end = self._log.end_offset(TOPIC, 0)
            for record in read_owners(self._log, self._read_to, end) if end > self._read_to else ():
                if takes_over(record, self.claim):
                    self._lose(record)
            self._read_to, self._looked_at = max(end, self._read_to), began

    def close(self) -> None:
        """Stop looking."""
        self._closed.set()
        if self._keeper.is_alive():
            self._keeper.join()

    def _lose(self, record: Record) -> None:
        owner = msgspec.json.decode(record.value, type=OwnerRecord)
        self._lost = StateFencedError(
            f"{self.claim.owner} was taken over by process {owner.pid} on {owner.host} (epoch {record.offset}); this "
            "process stops: end the other one before you start it again"
        )
        self._on_lost(self._lost)
        raise self._lost

    def _keep(self) -> None:
        while not self._closed.wait(LEASE.total_seconds() / 3):
            try:
                self.look()
            except StateFencedError:
                return
            except LogError as error:  # the look grows old, and whoever relies on it will say so
                _logger.warning("owners_not_read", place=self.claim.owner, error=type(error).__name__)


def takes_over(record: Record, claim: Claim) -> bool:
    """Whether a later record of `owners` ends a claim."""
    if record.key == claim.owner.encode():
        return True
    if record.key != f"{claim.flow}/0".encode():
        return False
    return msgspec.json.decode(record.value, type=OwnerRecord).processes <= claim.process


def read_owners(log: Log, start: int, end: int) -> list[Record]:
    """The records of `owners` from `start` to `end`."""
    return list(stored_records(log, {(TOPIC, 0): start}, {(TOPIC, 0): end}, deadline=_READ_DEADLINE))


def owners_now(log: Log, flow: str) -> dict[int, OwnerRecord]:
    """Who owns each place of a flow, by the number of the process; whether it lives, a claim does not say."""
    begin, end, prefix = log.begin_offset(TOPIC, 0), log.end_offset(TOPIC, 0), f"{flow}/".encode()
    owners: dict[int, OwnerRecord] = {}
    for record in read_owners(log, begin, end):
        if record.value and record.key.startswith(prefix):
            number, owner = int(record.key.removeprefix(prefix)), msgspec.json.decode(record.value, type=OwnerRecord)
            owners[number] = owner
            if number == 0:
                owners = {place: each for place, each in owners.items() if place < owner.processes}
    return owners


def claim_place(
    log: ClaimableLog, flow: str, process: int, processes: int, owner: OwnerRecord, topics: Sequence[str]
) -> Claim:
    """Take a place over; whoever had it is fenced when this returns. `topics` are those that the flow appends to.

    :raises StateFencedError: a still later process has taken it over already.
    :raises LogError: the log cannot be read or written.
    """
    before = read_owners(log, log.begin_offset(TOPIC, 0), log.end_offset(TOPIC, 0))
    name, headers = f"{flow}/{process}", (("schema", SCHEMA),)
    claimed = msgspec.json.encode(_going_on(before, name, owner))
    (epoch,) = log.append([NewRecord(TOPIC, 0, name.encode(), claimed, headers)])
    claim = Claim(flow, process, processes, epoch)
    if not isinstance(log, EmbeddedLog) and _may_live(before, claim, owner):
        _logger.info("waiting_for_owner_before", place=name, seconds=LEASE.total_seconds())
        time.sleep(LEASE.total_seconds())
    log.fence(claim, topics)
    _logger.info("place_claimed", place=name, epoch=epoch, processes=processes)
    return claim


def _going_on(before: Sequence[Record], place: str, mine: OwnerRecord) -> OwnerRecord:
    """A claim that knows since when the place runs as it does now: a restart is no new version."""
    for record in reversed(before):
        if record.value and record.key == place.encode():
            last = msgspec.json.decode(record.value, type=OwnerRecord)
            alike = (last.version, last.processes, last.workers) == (mine.version, mine.processes, mine.workers)
            return msgspec.structs.replace(mine, since=last.since or last.at) if alike else mine
    return mine


def _may_live(before: Sequence[Record], claim: Claim, mine: OwnerRecord) -> bool:
    """Whether an owner before is not known to be dead: of this place, or of one that is no more."""
    prefix = f"{claim.flow}/".encode()
    newest = {record.key: record for record in before if record.value and record.key.startswith(prefix)}
    first = newest.get(prefix + b"0")
    ended_from = msgspec.json.decode(first.value, type=OwnerRecord).processes if first is not None else 0
    for key, record in newest.items():
        number = int(key.removeprefix(prefix))
        beyond = claim.process == 0 and number >= claim.processes
        ended = first is not None and number >= ended_from and record.offset < first.offset
        mine_or_beyond = number == claim.process or (beyond and not ended)
        if mine_or_beyond and not is_dead(msgspec.json.decode(record.value, type=OwnerRecord), mine):
            return True
    return False


class FencedLog:
    """A log whose appends belong to a place: see `connectors.log.interface.Log`. Reading needs no place."""

    def __init__(self, log: Log, fence: Fence) -> None:
        """Append through `log` while `fence` holds; `log` belongs to this one from now on."""
        self._log, self.fence = log, fence

    def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        self._log.ensure_topics(specs)

    def partitions(self, topic: str) -> int:
        return self._log.partitions(topic)

    def append(self, records: Sequence[NewRecord]) -> list[int]:
        """As `Log.append`; also raises StateFencedError, and then nothing is stored."""
        self.fence.check()
        return self._log.append(records)

    def reader(self, start: Mapping[tuple[str, int], int]) -> Reader:
        return self._log.reader(start)

    def begin_offset(self, topic: str, partition: int) -> int:
        return self._log.begin_offset(topic, partition)

    def end_offset(self, topic: str, partition: int) -> int:
        return self._log.end_offset(topic, partition)

    def end_offsets(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return self._log.end_offsets(places)

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int:
        return self._log.offset_at(topic, partition, timestamp_ms)

    def close(self) -> None:
        self._log.close()


def owner_record(lock_file: Path, processes: int, workers: int, now_ms: int) -> OwnerRecord:
    """What this process says of itself."""
    return OwnerRecord(
        host=socket.gethostname(), lock=lock_identity(lock_file), pid=os.getpid(), processes=processes, at=now_ms,
        version=PROGRAM_VERSION, workers=workers,
    )  # fmt: skip
