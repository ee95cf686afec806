"""What a process of decide does before it reads; `flows/recovery/prepare.py` has the same for other owners of state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import structlog
from rocksdict import Rdict

from connectors.log.interface import Log
from flows.config.settings import Settings
from flows.process.run_files import note_rebuild
from flows.recovery.bounds import StoreHome, ahead_text, bounds_of, refuse_new_log
from flows.recovery.export import Exporter
from flows.recovery.prepare import start_exporter
from flows.recovery.restore import has_history, report_refused
from flows.steps.dead_letters import read_dead_letters
from flows.steps.decide.group import restore_skips
from state.decide.checkpoint import GroupStore
from state.decide.exports import STORE, TOPIC, clear_group, group_source, newest_per_group, restore_groups
from state.model.channels import CHANNELS
from state.model.errors import ConfigurationError, StateDamagedError
from state.model.keys import partition_of_group

_logger = structlog.get_logger(__name__)


def prepare_decide(
    settings: Settings, store: GroupStore, path: Path, groups: Iterable[int], open_log: Callable[[], Log]
) -> list[int]:
    """Restore what the store at `path` lacks of the key groups that this process decides; gives these groups.

    :raises StateDamagedError: a group can neither go on nor be restored; the text says what to do.
    :raises ConfigurationError: a type by which they were decided offers a channel whose package is not here.
    """
    groups = list(groups)
    home = StoreHome(STORE, path, settings.data_dir)
    with closing(open_log()) as log:
        stored = {group: store.next_offset(group) for group in groups}
        anew = ensure_groups(home, store.database, stored, log, lambda wanted: _restore_skips(store, wanted, log))
    store.forget_skips()  # exports bring skips of their own
    for group in groups:
        _refuse_absent(store.registry_tables(group))
    return anew


def _refuse_absent(tables: Mapping[str, Mapping[str, Any]]) -> None:
    """What waits was decided for a channel that nobody here knows: the types of now hold only from their record on."""
    for name, table in tables.items():
        if absent := sorted({*table.get("channels", ())}.difference(CHANNELS)):
            raise ConfigurationError(
                f"types.{name}: was last decided with the channel {', '.join(absent)}, which no package here adds. "
                "Install the package again, start with this channel in no type, and uninstall it when "
                "`carillon ledger --check` passes"
            )


def _restore_skips(store: GroupStore, groups: Collection[int], log: Log) -> None:
    restore_skips(store, groups, read_dead_letters(log))


def export_decide(settings: Settings, store: GroupStore, slot: int) -> Exporter:
    """Export the store of a process of decide; those of the others serve replays as far back as the archive goes."""
    needed = 2 * settings.log.retention + settings.archive.work_retention + settings.exports.archive_spacing
    return start_exporter(settings, group_source(slot, store.database), forget_after=needed)


def ensure_groups(
    home: StoreHome, database: Rdict, stored: dict[int, int], log: Log, before: Callable[[Collection[int]], None]
) -> list[int]:
    """Before decide reads: every key group of `stored` (next offset, 0: nothing) is there and fits the log, or is
    restored from an export, or is refused. Gives the groups that were restored or start empty. `before` gets them while
    they are not there yet, so that a start that is killed afterwards does it again.

    :raises StateDamagedError: naming the remedy.
    """
    parts = log.partitions(TOPIC)
    by_partition = {part: bounds_of(log, TOPIC, part) for part in range(parts)}
    bounds = {group: by_partition[partition_of_group(group, parts)] for group in stored}
    for group, offset in stored.items():
        if offset > bounds[group].end:
            raise StateDamagedError(ahead_text(home, f"{TOPIC}, key group {group},", offset, bounds[group].end))
    wanted = {
        group: range(max(1, begin), end + 1)
        for group, (begin, end) in bounds.items()
        if end > 0 and (stored[group] == 0 or stored[group] < begin)
    }
    chosen = newest_per_group(home.exports, wanted, report_refused) if wanted else {}
    begun = [group for group, offset in stored.items() if not offset and group not in chosen]
    if begun:
        refuse_new_log(home, {(TOPIC, group): bounds[group].end for group in begun})
    if not wanted:
        return []
    missing = [group for group in wanted if group not in chosen and bounds[group].begin > 0]
    if missing:
        raise StateDamagedError(_groups_missing(home, missing))
    before(wanted.keys())
    restored = restore_groups(database, chosen, home.path.with_name(f".{home.path.name}.restoring"))
    for group in wanted.keys() - chosen.keys():
        clear_group(database, group)
    used = ", ".join(sorted({f"export {each.directory.parent.name}/{each.number}" for each in chosen.values()}))
    if chosen or any(has_history(log, TOPIC, part) for part in by_partition):
        note_rebuild(home.data_dir, home.store, used or "the log")
        _logger.warning("restored", store=home.store, groups=len(restored), begun_anew=len(wanted) - len(restored))
    return sorted(wanted)


def _groups_missing(home: StoreHome, groups: list[int]) -> str:
    return (
        f"{home.path}: has nothing, or too old a state, of {len(groups)} key groups (the first is {groups[0]}), and"
        f" retention has removed the start of topic {TOPIC}; no sound export in {home.exports / home.flow} goes on from"
        f" what is left. Restore the state directory or an export, or stop the system and rebuild from the archive:"
        f" carillon replay {home.data_dir} --rebuild-state"
    )
