"""An audience's file: judged row by row, then stored in chunks of one zone each, in bounded memory.

| column | holds |
|---|---|
| `user` | whom; needed |
| `timezone` | an IANA zone; where it is empty or missing, that of the user's quiet hours, else UTC |

Users lie in a table on disk, which counts each once and gives them by stage, zone and key group: a chunk concerns few
groups, so that it is decided in columns. In which stage a user is, a hash of campaign and user says: whoever is in the
first stage of one campaign is so in others by chance alone.
"""

from __future__ import annotations

import sqlite3
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from connectors.tables import UNREADABLE, Form, read_rows
from state.model.admission import Outlook
from state.model.campaign import CampaignChunk
from state.model.keys import key_group, user_hash
from state.model.zones import zone_name_or_utc, zone_names

BAD_ROWS_MAX = 10_000
"""So many are told one by one; the others are counted."""
_LAYOUT = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE recipient (user TEXT PRIMARY KEY, zone TEXT, key_group INTEGER, stage INTEGER) WITHOUT ROWID;
"""


class KnownOf(NamedTuple):
    """What is on file of a user."""

    is_known: bool
    """Whether there is an address or a preference."""
    zone: str | None
    outlook: Outlook


LookUp = Callable[[str], KnownOf]


@dataclass(slots=True)
class AudienceTable:
    """The recipients of one file; a context, which frees the disk."""

    spool: Path
    complaint: Callable[[Any], str | None]
    """What is wrong with a user's name."""
    look_up: LookUp
    campaign: str
    stages: Sequence[int] = ()
    """Percents at which stages end before the last one; rising."""
    rows: int = 0
    bad: int = 0
    unknown: int = 0
    recipients: int = 0
    reached: Counter[str] = field(default_factory=Counter)
    suppressed: Counter[str] = field(default_factory=Counter)
    bad_rows: list[tuple[int, str]] = field(default_factory=list)
    stage_ends: dict[int, int] = field(default_factory=dict)
    """By the percent of each stage that has somebody, up to which chunk it goes; known once all were given."""
    _table: Any = None

    def __enter__(self) -> Self:
        # What is open stays, without a name, when its directory goes: a process that is killed leaves nothing.
        with tempfile.TemporaryDirectory(dir=self.spool) as directory:
            self._table = sqlite3.connect(Path(directory) / "audience.sqlite", check_same_thread=False)
            self._table.executescript(_LAYOUT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._table.close()

    @property
    def doubles(self) -> int:
        """Rows that name a user again."""
        return self.rows - self.bad - self.recipients

    def read(self, file: IO[bytes], form: Form) -> None:
        """Take all rows.

        :raises TableError: it is no such file, or lacks the column `user`.
        """
        for rows in read_rows(file, form, ["user"], ["timezone"]):
            self.rows += len(rows.numbers)
            fine = [
                (user, zone or None, key_group(user), self._stage(user))
                for number, user, zone in zip(rows.numbers, *rows.columns, strict=True)
                if self._is_fine(number, user, zone)
            ]
            self._table.executemany("INSERT OR IGNORE INTO recipient VALUES (?, ?, ?, ?)", fine)
        self._count()

    def _is_fine(self, number: int, user: Any, zone: Any) -> bool:
        said = "cannot be read" if user is UNREADABLE else _gone_wrong(user) or self.complaint(user)
        if said is None and zone and (not isinstance(zone, str) or zone not in zone_names()):
            said = "timezone: is no IANA zone"
        if said is None:
            return True
        self.bad += 1
        if len(self.bad_rows) < BAD_ROWS_MAX:
            self.bad_rows.append((number, said))
        return False

    def _stage(self, user: str) -> int:
        return bisect_right(self.stages, user_hash(f"{self.campaign}\0{user}") % 100) if self.stages else 0

    def _count(self) -> None:
        """Look each recipient up: his zone, and whether anything is known of him."""
        with closing(self._table.execute("SELECT user, zone FROM recipient")) as found:
            while some := found.fetchmany(1_000):
                self.recipients += len(some)
                self._place(some)

    def _place(self, some: Sequence[tuple[str, str | None]]) -> None:
        for user, zone in some:
            known = self.look_up(user)
            self.unknown += not known.is_known
            self.reached.update(known.outlook.channels)
            if known.outlook.reason is not None:
                self.suppressed[known.outlook.reason] += 1
            if zone is None:
                own = zone_name_or_utc(known.zone)
                self._table.execute("UPDATE recipient SET zone = ? WHERE user = ?", (own, user))

    def chunks(self, generation: int, size: int) -> Iterator[CampaignChunk]:
        """All recipients, stage by stage, at most so many in a chunk."""
        found = self._table.execute("SELECT stage, zone, user FROM recipient ORDER BY stage, zone, key_group, user")
        number = 0
        for (stage, zone), rows in groupby(found, key=itemgetter(0, 1)):
            while users := [user for *_, user in islice(rows, size)]:
                yield CampaignChunk(self.campaign, generation, number, zone, len(users), users)
                number += 1
            self.stage_ends[(*self.stages, 100)[stage]] = number


def _gone_wrong(user: Any) -> str | None:
    """What files of people have in place of a user."""
    if user in (None, ""):
        return "user: is missing"
    if isinstance(user, str) and "\n" in user:
        return f"user: is {user.count(chr(10)) + 1} lines, the last of them this: a quotation mark is not closed"
    return None
