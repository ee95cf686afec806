"""Where the key groups of decide are kept, and how they move when the number of processes changes (DECISIONS, Key
groups).

Every process of decide keeps its groups in a slot of its own, so that no process opens the database of another:

    <directory>/placement.json        {"version": 1, "processes": n, "workers": w, "whole": true}, w workers a process
    <directory>/<slot>/rocksdb        the checkpoint of the groups of process <slot> (`state.decide.checkpoint`)
    <directory>/<slot>/offsets.json   {"version": 1, "next": {"<group>": offset}} as of the start of the process
    <directory>/<slot>/poison         its journal (`state.disk.poison`)

Bytewax sends group g to worker g % (n * w), since the groups' keys were chosen so (`state.model.group_keys`), and
worker v runs in process v // w. For another n or w, `move_groups` copies each misplaced group to its slot, its offset
last, and only then removes it where it was. A crash in between leaves a group whole in one slot or two; at the next
start the higher offset counts. `whole` is false while groups move. The slots of one flow lie in one data directory: on
one machine, or on a disk that its machines share.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from rocksdict import Rdict

from state.decide import codec
from state.decide.checkpoint import FORMAT
from state.decide.exports import clear_group, copy_group
from state.disk.files import rename_flushed, replace_file
from state.disk.rocksdb import open_database, stored_row
from state.model.errors import ConfigurationError, StateDamagedError
from state.model.keys import KEY_GROUPS

PLACEMENT = "placement.json"
DATABASE = "rocksdb"
OFFSETS = "offsets.json"
POISON = "poison"
_VERSION = 1


class Layout(NamedTuple):
    """How many processes decide, with how many workers each."""

    processes: int
    workers: int

    def validate(self) -> None:
        """:raises ConfigurationError: the groups do not spread evenly over so many workers."""
        total = self.processes * self.workers
        if total < 1 or KEY_GROUPS % total:
            raise ConfigurationError(
                f"decide: {KEY_GROUPS} key groups do not spread evenly over {total} workers; run 1, 2, 3, 4, 5, 6, 8,"
                " 10, 12 ... in all"
            )

    def slot_of(self, group: int) -> int:
        """The process that decides a group."""
        return group % (self.processes * self.workers) // self.workers

    def groups_of(self, slot: int) -> list[int]:
        """The groups that a process decides."""
        return [group for group in range(KEY_GROUPS) if self.slot_of(group) == slot]


def slot_directory(directory: Path, slot: int) -> Path:
    """Where a process keeps what is its own."""
    return directory / str(slot)


def read_layout(directory: Path) -> Layout | None:
    """The settled placement; None if there is none, if a move was not finished, or if the file is damaged."""
    found = _read_json(directory / PLACEMENT)
    if found.get("version") != _VERSION or found.get("whole") is not True:
        return None
    processes, workers = found.get("processes"), found.get("workers")
    return Layout(processes, workers) if isinstance(processes, int) and isinstance(workers, int) else None


def _write_layout(directory: Path, layout: Layout, *, whole: bool) -> None:
    found = {"version": _VERSION, **layout._asdict(), "whole": whole}
    replace_file(directory / PLACEMENT, json.dumps(found).encode())


def move_groups(directory: Path, layout: Layout) -> int:
    """Bring every group to its slot; gives how many were elsewhere. The caller sees to it that nobody has any of the
    databases open.

    :raises StateDamagedError: a slot's database does not open; the text says which.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _write_layout(directory, layout, whole=False)
    _adopt_rebuilt(directory)
    found = [int(path.parent.name) for path in directory.glob(f"*/{DATABASE}") if path.parent.name.isdigit()]
    with ExitStack() as opened:
        databases = {slot: _open(opened, directory, slot) for slot in sorted({*found, *range(layout.processes)})}
        moved = sum(_settle(databases, group, layout.slot_of(group)) for group in range(KEY_GROUPS))
    for slot in found:
        if slot not in range(layout.processes):
            _remove(directory, slot)
    _write_layout(directory, layout, whole=True)
    return moved


def _adopt_rebuilt(directory: Path) -> None:
    """`carillon replay --rebuild-state` of earlier releases left the database where no slot has it."""
    first = slot_directory(directory, 0)
    if (directory / DATABASE).exists() and not (first / DATABASE).exists():
        first.mkdir(exist_ok=True)
        rename_flushed(directory / DATABASE, first / DATABASE)


def _open(opened: ExitStack, directory: Path, slot: int) -> Rdict:
    database = open_database(slot_directory(directory, slot) / DATABASE, FORMAT)
    opened.callback(database.close)
    return database


def _settle(databases: dict[int, Rdict], group: int, target: int) -> bool:
    """Leave the group in its slot only; gives whether it was elsewhere."""
    holders = {slot: offset for slot, database in databases.items() if (offset := _next_offset(database, group))}
    source = max(holders, key=lambda slot: (holders[slot], slot == target), default=target)
    if source != target:
        copy_group(databases[source], databases[target], group)
    for slot, database in databases.items():
        if slot != target or not holders:  # also what a move that was killed left without the row that makes it a group
            clear_group(database, group)
    return source != target


def _next_offset(database: Rdict, group: int) -> int:
    meta = stored_row(database, codec.checkpoint_key(b"M", group))
    return 0 if meta is None else int(codec.decode_meta(meta)[0])


def _remove(directory: Path, slot: int) -> None:
    where = slot_directory(directory, slot)
    shutil.rmtree(where / DATABASE)
    for name in (OFFSETS, POISON):
        (where / name).unlink(missing_ok=True)


def publish_offsets(directory: Path, slot: int, offsets: dict[int, int]) -> None:
    """Tell the other processes from which offset this one needs `work`. Written at its start, before the cluster runs:
    offsets only grow, so they are never ahead of the database.
    """
    found = {"version": _VERSION, "next": offsets}
    replace_file(slot_directory(directory, slot) / OFFSETS, json.dumps(found).encode())


def published_offset(directory: Path, layout: Layout, group: int) -> int:
    """What the group's process published at this start.

    :raises StateDamagedError: the process of the group has published nothing.
    """
    path = slot_directory(directory, layout.slot_of(group)) / OFFSETS
    offset = _read_json(path).get("next", {}).get(str(group))
    if not isinstance(offset, int):
        raise StateDamagedError(
            f"{path}: does not say where key group {group} goes on; all processes of decide must use one data"
            f" directory and start together, {layout.processes} of them"
        )
    return offset


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
