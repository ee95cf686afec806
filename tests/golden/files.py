"""The golden files and what they hold: `content()` makes them anew, in the words in which they are stored.

| file | holds |
|---|---|
| steps.json | per flow, step ids and kinds |
| keys.json | spelling of the key groups; of some users: group, hash, and an emission_id |
| work.json | every kind of record of the decision log, as text |
| decide.json, sequence.json, schedule.json | rows of the checkpoints, hex |
| audience.json | of decide's checkpoint, the rows of followers that are too many for rows of their own |
| export.json | the files of an export (manifest as text, tables in base64), and its rows as in decide.json |
| dead_letters.json | a letter of every kind and the actions on them, as outputs.json |
| outputs.json | what decide writes: topic, partition, key, headers, value; of batches base64 bytes, schema and rows |
"""

from __future__ import annotations

import json
import tempfile
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golden import dead_letters, exports, scenario
from golden.steps import step_ids

from connectors.log import NewRecord
from flows.commands.graph import FLOWS
from state.model.group_keys import GROUP_KEYS
from state.model.keys import emission_id, key_group, user_hash
from state.model.work import encode_work

HERE = Path(__file__).resolve().parent / "v1"
USERS = ["u1", "", "0", "a" * 256, "é", "\uff5eu", "😀u", "user\nwith break", "u1 "]
NEEDS_DIRECTORY: dict[str, Callable[[Path], scenario.Rows]] = {
    "decide": scenario.decide_rows,
    "audience": scenario.audience_rows,
    "sequence": scenario.sequence_rows,
    "schedule": scenario.schedule_rows,
}


def keys() -> dict[str, Any]:
    """Spellings and hashes that place users for ever."""
    of_user = {
        user: [
            key_group(user),
            str(user_hash(user)),
            emission_id(user, "like", "é", "e1"),
            emission_id(user, "t", None, "e"),
        ]
        for user in USERS
    }
    return {"group_keys": list(GROUP_KEYS), "users": of_user}


def output(record: NewRecord) -> dict[str, Any]:
    """A record as it is stored in outputs.json."""
    headers = {name: value.decode() for name, value in record.headers}
    given = {"topic": record.topic, "partition": record.partition, "key": record.key.decode(), "headers": headers}
    if headers["schema"].endswith("+json"):
        return given | {"value": record.value.decode()}
    schema, rows = scenario.arrow_rows(record.value)
    return given | {"bytes": b64encode(record.value).decode(), "schema": schema, "rows": rows}


def content(name: str, directory: Path) -> Any:
    """What the file `name` should hold, by the code as it is."""
    if name == "steps":
        return {flow: step_ids(flow, directory / flow) for flow in FLOWS}
    if name == "keys":
        return keys()
    if name == "work":
        return [encode_work(record).decode() for record in scenario.work_records()]
    if name == "export":
        return exports.export(directory)
    if name == "dead_letters":
        return [output(record) for record in dead_letters.records()]
    if name == "outputs":
        return [output(record) for record in scenario.decided()[1]]
    return NEEDS_DIRECTORY[name](directory / name)


NAMES = ("steps", "keys", "work", "outputs", "dead_letters", "export", *NEEDS_DIRECTORY)


def stored(name: str) -> Any:
    """What the file holds."""
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def write(name: str) -> None:
    """Write the file anew."""
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        text = json.dumps(content(name, Path(directory)), indent=1, ensure_ascii=False)
    (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
