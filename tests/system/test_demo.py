"""`carillon up --demo`, the whole system: what people came for is on the screen, and in no file."""

import json
from pathlib import Path

from helpers.up import running
from helpers.waiting import wait_for

SENTENCE = "Ada and 48 others liked your"


def browsers_that_read(directory: Path) -> set[str]:
    entries = map(json.loads, (directory / "sandbox" / "webpush.ndjson").read_text().splitlines())
    return {entry["to"] for entry in entries if entry["status"] == 201}


def test_the_sentence_that_people_come_for_is_shown_as_the_phone_got_it(tmp_path: Path) -> None:
    with running(tmp_path, "--demo", environment={"CARILLON_TYPES__LIKE__WINDOW_MS": "2000"}) as up:
        lines = up.lines
        wait_for(lambda: any(SENTENCE in line.get("text", "") for line in list(lines)), 90, "the sentence")
        wait_for(lambda: {"phone", "push", "sms", "email"} <= {line.get("event") for line in list(lines)}, what="all")
        wait_for(lambda: browsers_that_read(tmp_path) >= {"grace"}, what="her browser")
        codes = [line["text"] for line in list(lines) if line.get("event") == "sms"]
        assert up.stop() == 0
    assert {line["user"] for line in lines if SENTENCE in line.get("text", "")} == {"grace"}
    assert not (tmp_path / "sandbox" / "watch").exists()
    files = [*(tmp_path / "run" / "logs").iterdir(), *(tmp_path / "sandbox").glob("*.ndjson")]
    written = "".join(path.read_text() for path in files)
    assert not [text for text in (SENTENCE, *codes) if text in written]
