"""RULES 3: what happens to one user's items, by the letters of that section."""

from __future__ import annotations

import hashlib
import heapq
import json
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from reference import clock, inbox
from reference import world as read
from reference.events import Event
from reference.items import Group, Item, User, distinct_actors
from reference.registry import DAY, HOUR
from reference.world import World


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says: pass, hold until, or suppress with a reason."""

    kind: str
    until: int = -1
    quiet: bool = False
    reason: str | None = None


PASS = Verdict("pass")
WAITING_MAIL = ("digest", "unread")


class Pipeline:
    """All users' items, groups, rows and timers; every method takes the decision clock `now`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.users: dict[str, User] = {}
        self.items: list[Item] = []
        self.emissions: list[dict[str, Any]] = []
        self._timers: list[tuple[int, str, int, int, Group]] = []
        self._timers_set = 0

    def user(self, name: str) -> User:
        return self.users.setdefault(name, User())

    # Arrival ------------------------------------------------------------------

    def arrive(self, event: Event, name: str, now: int) -> None:
        """An event reaches one of its recipients."""
        item = Item(event, name)
        self.items.append(item)
        if event.retracts:
            self._retract(item, now)
        elif self._passes_filter(item, now) and self._passes_channels(item, now):
            self._enter_group(item, now)

    def _passes_filter(self, item: Item, now: int) -> bool:
        """RULES 3.A. Ends the item and says False, or says True."""
        if self._expired(item, now):
            return False
        reason = self._filter_reason(item)
        if reason is not None:
            self._end(item, "SUPPRESSED", now, reason)
        return reason is None

    def _expired(self, item: Item, now: int) -> bool:
        """RULES 3.A.2, which comes after 3.A.1 only."""
        if read.killed(self.world, item.event):
            return False
        mail = 0 if item.mail_since is None else now - item.mail_since
        waited = 0 if item.event.spec.absolute_ttl else item.waited + mail
        if now - item.event.ingested_at - waited <= item.event.ttl:
            return False
        self._end(item, "EXPIRED", now)
        return True

    def _filter_reason(self, item: Item) -> str | None:
        """RULES 3.A.1 and 3 to 6."""
        event, spec, urgent = item.event, item.event.spec, item.event.cls == "P0"
        if read.killed(self.world, event):
            return "kill_switch"
        if item.user == event.actor and not spec.notify_self:
            return "self"
        if self.world.document(item.user).get("master") is False and not urgent:
            return "master_off"
        if not spec.mandatory and not read.type_enabled(self.world, item.user, event):
            return "type_off"
        if not (urgent or spec.mandatory) and read.muted(self.world, item.user, event):
            return "muted"
        return None

    def _passes_channels(self, item: Item, now: int) -> bool:
        """RULES 3.B. Writes the inbox row; ends an item without an interruptive channel and says False."""
        channels = read.allowed(self.world, item.user, item.event)
        in_app_killed = "in_app" in channels and read.channel_killed(self.world, "in_app")
        if "in_app" in channels and not in_app_killed:
            inbox.write(self.user(item.user), item)
        if interruptive(channels):
            return True
        if item.inbox:
            self._end(item, "INBOX", now)
        else:
            self._end(item, "SUPPRESSED", now, "kill_switch" if in_app_killed else "no_channel")
        return False

    # RULES 3.C ----------------------------------------------------------------

    def _enter_group(self, item: Item, now: int) -> None:
        """RULES 3.C: an item arrives at a closed, open or held group."""
        event, user = item.event, self.user(item.user)
        windowed = event.spec.window > 0 and event.cls != "P0"
        group = user.groups.get((event.type, event.object)) if windowed else None
        if group is not None:
            self._join(group, item, now)
        else:
            kind = "window" if windowed else "single"
            self._gate_as_one(Group(kind, item.user, event.place, (event.type, event.object)), [item], now)

    def _join(self, group: Group, item: Item, now: int) -> None:
        """What is pending in an open group is AGGREGATING, in a held one HELD until T."""
        item.group = group
        group.pending.append(item)
        self.user(item.user).pending[item] = None
        if group.kind in WAITING_MAIL and item.mail_since is None:
            item.mail_since = now
        if group.state == "held":
            item.quiet_since = now if group.quiet and group.kind not in WAITING_MAIL else None
            item.decide("HELD", now, until=group.due)
        else:
            item.decide("AGGREGATING", now)

    def _time_comes(self, group: Group, now: int) -> None:
        """RULES 3.C: rule A for each pending item, what it ends leaves; the rest is gated as one."""
        items = list(group.pending)
        for item in items:
            if item.quiet_since is not None:
                item.waited += now - item.quiet_since
                item.quiet_since = None
        left = [item for item in items if self._passes_filter(item, now)]
        if group.kind in WAITING_MAIL:
            left = [item for item in left if self._keeps_email(item, now)]
        group.pending = []
        if left:
            self._gate_as_one(group, left, now)
        else:
            self._close(group)

    def _gate_as_one(self, group: Group, items: list[Item], now: int) -> None:
        """RULES 3.C: pass, hold until T, or suppress. The items are not in `group.pending` here."""
        verdict = self._gate(group, items, now)
        if verdict.kind == "pass":
            self._route(group, items, now)
        elif verdict.kind == "hold":
            self._set(group, "held", verdict.until, quiet=verdict.quiet)
            for item in items:
                self._join(group, item, now)
        else:
            self._close(group)
            for item in items:
                self._end(item, "SUPPRESSED", now, verdict.reason)

    def _set(self, group: Group, state: str, due: int, *, quiet: bool = False) -> None:
        """The group is open or held until `due`."""
        self._timers_set += 1
        group.state, group.due, group.timer, group.quiet = state, due, self._timers_set, quiet
        heapq.heappush(self._timers, (due, group.user, group.place, group.timer, group))
        if group.kind == "window":
            self.user(group.user).groups[group.name] = group
        elif group.kind == "digest":
            self.user(group.user).digest = group
        elif group.kind == "unread":
            self.user(group.user).unread_mails[group.name] = group

    def _close(self, group: Group) -> None:
        group.state, group.timer = "closed", -1
        user = self.user(group.user)
        if user.groups.get(group.name) is group:
            del user.groups[group.name]
        if user.digest is group:
            user.digest = None
        if user.unread_mails.get(group.name) is group:
            del user.unread_mails[group.name]

    def next_timer(self) -> int | None:
        """When the next timer is due."""
        while self._timers and self._timers[0][4].timer != self._timers[0][3]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def fire(self) -> None:
        """The next timer fires; its clock is its due time (RULES 6)."""
        due, _, _, _, group = heapq.heappop(self._timers)
        self._time_comes(group, due)

    # RULES 3.D ----------------------------------------------------------------

    def _gate(self, group: Group, items: list[Item], now: int) -> Verdict:
        """RULES 3.D, with the most urgent class of the items; the digest is P1."""
        cls = "P1" if group.kind == "digest" else min(item.event.cls for item in items)
        if cls == "P0":
            return PASS
        slot = group.kind != "digest" and in_slot(items)
        counted = self._pool(group.user, slot=slot)
        in_hour = counted[bisect_right(counted, now - HOUR) :]
        in_day = len(counted) - bisect_right(counted, now - DAY)
        for item in items:
            item.cap_hour, item.cap_day = len(in_hour), in_day
        return self._quiet_hours(group.user, cls, now) or self._capped(group.user, cls, in_hour, in_day, slot=slot)

    def _quiet_hours(self, user: str, cls: str, now: int) -> Verdict | None:
        """RULES 3.D.1."""
        until = read.quiet_until(self.world, user, now)
        if until is None:
            return None
        return Verdict("hold", until, quiet=True) if cls == "P1" else Verdict("suppress", reason="quiet_hours")

    def _pool(self, user: str, *, slot: bool) -> list[int]:
        """When emissions were counted: of campaigns with a dedicated slot, or all others."""
        return self.user(user).counted_in_slots if slot else self.user(user).counted

    def _capped(self, user: str, cls: str, in_hour: list[int], in_day: int, *, slot: bool) -> Verdict:
        """RULES 3.D.2 and 3; of campaigns with a slot one a day, but none where he wants none."""
        max_per_hour, max_per_day = read.caps(self.world, user)
        if slot:
            if in_day >= 1 or max_per_day <= 0:
                return Verdict("suppress", reason="cap_day")
            return PASS if max_per_hour > 0 else Verdict("suppress", reason="cap_hour")
        if in_day >= max_per_day:
            return Verdict("suppress", reason="cap_day")
        if len(in_hour) < max_per_hour:
            return PASS
        if cls == "P2" or max_per_hour <= 0:
            return Verdict("suppress", reason="cap_hour")
        return Verdict("hold", in_hour[len(in_hour) - max_per_hour] + HOUR)

    # RULES 3.E ----------------------------------------------------------------

    def _route(self, group: Group, items: list[Item], now: int) -> None:
        """RULES 3.E, and what C then makes of the group."""
        first = items[0].event
        if group.kind == "digest":
            self._close(group)
            self._emit(items, "digest", None, ["email"], now)
            return
        if group.kind == "unread":
            self._close(group)
            self._emit(items, first.type, first.object, ["email"], now)
            return
        found = interruptive(read.allowed(self.world, group.user, first))
        left = [channel for channel in found if not read.channel_killed(self.world, channel)]
        if not left:
            self._close(group)
            for item in items:
                self._nothing_left(item, now, by_switch=bool(found))
            return
        away = [channel for channel in left if not first.to and read.away(self.world, group.user, channel)]
        slow_mail = first.spec.email_digest or (bool(first.spec.mail_wait) and first.cls != "P0")
        present = [channel for channel in left if channel not in away and not (channel == "email" and slow_mail)]
        if left[0] == "email" and slow_mail:
            present = []
        channels = left if first.spec.policy == "all" else (present or left)[:1]
        before = left[: left.index(channels[0])]
        passed = tuple(channel for channel in away if channel in before)
        if channels == ["email"] and first.spec.email_digest:
            self._to_digest(items, now)
        elif channels == ["email"] and first.spec.mail_wait and items[0].inbox and first.cls != "P0":
            self._wait_to_be_read(items, now)
        else:
            self._emit(items, first.type, first.object, channels, now, passed)
        if group.kind == "window" and first.spec.window > 0:  # it may have lost it since (RULES 7)
            self._set(group, "open", now + first.spec.window)
        else:
            self._close(group)

    def _nothing_left(self, item: Item, now: int, *, by_switch: bool) -> None:
        if item.inbox:
            self._end(item, "INBOX", now)
        else:
            self._end(item, "SUPPRESSED", now, "kill_switch" if by_switch else "no_channel")

    def _emit(
        self, items: list[Item], kind: str, obj: str | None, channels: list[str], now: int, passed: tuple[str, ...] = ()
    ) -> None:
        """One notification for all items; counted unless it is P0 (RULES 3.D)."""
        first, user = items[0], items[0].user
        if first.event.cls != "P0":
            self._pool(user, slot=kind != "digest" and in_slot(items)).append(now)
        name = emission_id(user, kind, obj, first.event.event_id)
        for item in items:
            reason = f"passed_over {','.join(passed)}" if passed else None
            self._end(item, "EMITTED" if item is first else "MERGED", now, reason)
            item.emission_id, item.channels = name, channels
        self.emissions.append(
            {
                "kind": "emission",
                "emission_id": name,
                "first_event_id": first.event.event_id,
                "user": user,
                "type": kind,
                "object": obj,
                "count": len(items),
                "actors": distinct_actors([item.event.actor for item in items]),
                "channels": channels,
                "decided_at": now,
            }
        )

    def _to_digest(self, items: list[Item], now: int) -> None:
        """RULES 3.E: the items join the user's digest."""
        name = items[0].user
        digest = self.user(name).digest
        if digest is None:
            digest = Group("digest", name, items[0].event.place, ("digest", None))
            self._set(digest, "open", clock.next_nine(read.zone_of(self.world, name), now))
        for item in items:
            self._join(digest, item, now)

    def _wait_to_be_read(self, items: list[Item], now: int) -> None:
        """RULES 3.E: their mail goes only if they are still unread then; without a window each waits by itself."""
        for item in items:
            event, user = item.event, self.user(item.user)
            name = (event.type, event.object)
            group = user.unread_mails.get(name) if event.spec.window else None
            if group is None:
                group = Group("unread", item.user, event.place, name if event.spec.window else ("", str(event.place)))
                self._set(group, "open", now + event.spec.mail_wait)
            self._join(group, item, now)

    def _keeps_email(self, item: Item, now: int) -> bool:
        """RULES 3.E: what has no email left, or finds email under a kill switch, ends."""
        has_email = "email" in read.allowed(self.world, item.user, item.event)
        if has_email and not read.channel_killed(self.world, "email"):
            return True
        self._nothing_left(item, now, by_switch=has_email)
        return False

    # RULES 3.F and 3.G --------------------------------------------------------

    def _retract(self, retraction: Item, now: int) -> None:
        """RULES 3.F: the latest pending item, else the latest in a row."""
        event, user = retraction.event, self.user(retraction.user)
        taken = max(
            (item for item in user.pending if _takes_back(event, item.event)),
            key=lambda item: item.event.place,
            default=None,
        )
        if taken is not None:
            self._end(taken, "SUPPRESSED", now, "retracted")
        else:
            taken = inbox.latest_in_row(user, event)
        if taken is not None:
            inbox.take_back(user, taken)
        self._end(retraction, "SUPPRESSED", now, "retraction")

    def read(self, name: str, up_to: int | None, now: int) -> None:
        """RULES 3.G: the user reads."""
        user, limit = self.user(name), now if up_to is None else up_to
        inbox.mark_read(user, limit)
        for item in list(user.pending):
            if item.inbox and item.event.ingested_at <= limit:
                self._end(item, "INBOX", now)

    def mark(self, name: str, what: str, rows: list[dict[str, Any]] | None, until: int, now: int) -> None:
        """RULES 3.G: the user marks rows; without any he archives what he read."""
        user = self.user(name)
        if rows is None:
            inbox.archive_read(user, until)
            return
        inbox.set_status(user, what, rows)
        for item in list(user.pending):
            if what != "unread" and item.inbox and any(_in_row(item.event, row) for row in rows):
                self._end(item, "INBOX", now)

    def erase(self, name: str, now: int) -> None:
        """RULES 3.G: the user is erased."""
        user = self.user(name)
        inbox.erase(user)
        for item in list(user.pending):
            self._end(item, "SUPPRESSED", now, "erased")

    # The end of an item -------------------------------------------------------

    def _end(self, item: Item, outcome: str, now: int, reason: str | None = None) -> None:
        """A terminal outcome; the item leaves its group, which keeps its time, but for mails that waited to be read."""
        item.decide(outcome, now, reason=reason)
        self.user(item.user).pending.pop(item, None)
        group, item.group = item.group, None
        if group is None:
            return
        if item in group.pending:
            group.pending.remove(item)
        if group.kind == "single" or (group.kind == "unread" and not group.pending):
            self._close(group)


def _in_row(event: Event, row: dict[str, Any]) -> bool:
    """Whether it entered a row of that name, as the user saw it."""
    alike = (event.type, event.object) == (row["type"], row.get("object")) and event.ingested_at <= row["at"]
    return alike and (event.spec.window > 0 or event.event_id == row["event_id"])


def in_slot(items: list[Item]) -> bool:
    """RULES 3.D: what is gated as one is in the pool of slots if all of it is."""
    return all(item.event.slot for item in items)


def interruptive(channels: list[str]) -> list[str]:
    return [channel for channel in channels if channel != "in_app"]


def emission_id(user: str, kind: str, obj: str | None, first_event_id: str) -> str:
    """A pure function of (user, type, object, first event_id)."""
    text = json.dumps([kind, obj, first_event_id], ensure_ascii=False, separators=(",", ":"))
    tag = hashlib.blake2b(user.encode(), digest_size=8).hexdigest()
    return "em_" + hashlib.sha256(text.encode()).hexdigest()[:24] + tag


def _takes_back(retraction: Event, event: Event) -> bool:
    same = (event.type, event.actor, event.object) == (retraction.type, retraction.actor, retraction.object)
    return same and retraction.parent in (None, event.event_id)
