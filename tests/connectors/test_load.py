"""What stations say of their load, as others remember it."""

import pytest

from connectors.load import FORGOTTEN_AFTER, LoadLevels, is_load, load_record
from connectors.log.interface import Record
from state.model.errors import MalformedRecordError
from state.model.load import LoadReport


def _record(place: str, level: int, at: int) -> Record:
    new = load_record(LoadReport(place, level, 0.5))
    return Record(new.topic, 0, 0, at, new.key, new.value, new.headers)


def test_the_highest_level_of_those_who_spoke_lately_holds() -> None:
    levels = LoadLevels()
    for place, level, at in (("decide/0", 1, 0), ("sequence/0", 3, 0), ("decide/1", 2, 30_000)):
        levels.note(_record(place, level, at))
    assert levels.level(1_000) == 3
    assert levels.level(1_000, but="sequence") == 2
    assert levels.level(60_000) == 2, "the others fell silent"
    assert levels.level(30_000 + FORGOTTEN_AFTER.seconds * 1000) == 0
    levels.note(_record("decide/1", 0, 31_000))
    assert levels.level(32_000, but="sequence") == 1


def test_a_report_is_told_from_a_switch_and_has_to_fit() -> None:
    record = _record("decide/0", 1, 0)
    assert is_load(record)
    assert not is_load(record._replace(headers=(("schema", b"kill/1+json"),)))
    with pytest.raises(MalformedRecordError, match="load"):
        LoadLevels().note(record._replace(value=b'{"place":"decide/0","level":4,"score":1}'))


def test_what_one_place_cannot_send_is_away_until_that_place_says_otherwise_or_falls_silent() -> None:
    levels = LoadLevels()

    def says(place: str, at: int, *away: str) -> None:
        new = load_record(LoadReport(place, 0, 0.0, away))
        levels.note(Record(new.topic, 0, 0, at, new.key, new.value, new.headers))

    says("deliver/0", 0, "push/ios", "email/*")
    says("deliver/1", 0, "push/ios")
    says("deliver/0", 1_000)
    assert levels.away(2_000) == {"push/ios"}
    says("deliver/1", 30_000, "push/ios")
    assert levels.away(60_000) == {"push/ios"}
    assert levels.away(90_000) == frozenset()
