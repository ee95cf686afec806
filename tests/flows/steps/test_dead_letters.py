"""The one way for a record that cannot be handled: what is set aside, what ends the flow, what stays noted."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from connectors.log.interface import Record
from flows.steps.dead_letters import RecordHandler, Unhandled, location_of
from state.disk.poison import STARTS_MAX, PoisonJournal
from state.model.errors import LogUnavailableError, MalformedRecordError, StateDamagedError

RECORD = Record("reads", 1, 7, 0, b"u1", b"{}", ())


def handler(directory: Path) -> RecordHandler:
    return RecordHandler("sequence", PoisonJournal.open(directory / "poison"), 2)


def raising(error: BaseException) -> Callable[[], None]:
    def make() -> None:
        raise error

    return make


def letter(directory: Path, unhandled: Unhandled) -> dict[str, object]:
    made = handler(directory).set_aside(RECORD, unhandled, at=5)
    assert (made.topic, made.partition, made.key) == ("dead_letters", 1, b"u1")
    value: dict[str, object] = orjson.loads(made.value)
    return value


def test_what_is_made_is_settled_before_it_is_given(tmp_path: Path) -> None:
    settled: list[str] = []
    assert handler(tmp_path).handle(location_of(RECORD), lambda: "made", settled.append) == "made"
    assert settled == ["made"]


@pytest.mark.parametrize(
    ("error", "kind"), [(MalformedRecordError("x"), "malformed"), (ValueError("x"), "raised"), (None, "killed")]
)
def test_a_record_at_fault_is_set_aside_and_nothing_is_settled(
    tmp_path: Path, error: Exception | None, kind: str
) -> None:
    if error is not None:
        refused = handler(tmp_path).handle(location_of(RECORD), raising(error), lambda _: pytest.fail("settled"))
        assert refused == Unhandled(error)
    assert letter(tmp_path, Unhandled(error))["kind"] == kind


@pytest.mark.parametrize("error", [LogUnavailableError("x"), StateDamagedError("x"), MemoryError()])
def test_an_error_of_log_store_or_memory_ends_the_flow(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        handler(tmp_path).handle(location_of(RECORD), raising(error))


@pytest.mark.parametrize("ending", [MemoryError, SystemExit])
def test_what_ends_the_process_at_five_starts_is_not_tried_again(tmp_path: Path, ending: type[BaseException]) -> None:
    for _ in range(STARTS_MAX):
        with closing(PoisonJournal.open(tmp_path / "poison")) as journal, pytest.raises(ending):
            RecordHandler("sequence", journal, 2).handle(location_of(RECORD), raising(ending()))
    assert handler(tmp_path).handle(location_of(RECORD), lambda: pytest.fail("tried")) == Unhandled(None)
    assert handler(tmp_path).handle(location_of(RECORD, group=3), lambda: "another group") == "another group"


def test_a_record_that_was_refused_or_whose_flow_ended_is_not_counted(tmp_path: Path) -> None:
    for _ in range(STARTS_MAX):
        handler(tmp_path).handle(location_of(RECORD), raising(ValueError()))
        with pytest.raises(LogUnavailableError):
            handler(tmp_path).handle(location_of(RECORD), raising(LogUnavailableError("x")))
    assert handler(tmp_path).handle(location_of(RECORD), lambda: "tried") == "tried"


def test_of_a_batch_each_record_stands_for_itself(tmp_path: Path) -> None:
    batch = handler(tmp_path).batch()
    found = [batch.handle("reads", 1, offset, -1, divmod, 7, offset) for offset in range(3)]
    assert isinstance(found[0], Unhandled)
    assert (type(found[0].error), found[1:]) == (ZeroDivisionError, [(7, 0), (3, 1)])


@pytest.mark.parametrize("place", [("reads", 1, 7, -1), ("reads", 0, 7, -1), ("reads", 1, 7, 3)])
def test_of_a_batch_the_record_counts_that_the_process_died_in(
    tmp_path: Path, place: tuple[str, int, int, int]
) -> None:
    for _ in range(STARTS_MAX):
        with closing(PoisonJournal.open(tmp_path / "poison")) as journal:
            batch = RecordHandler("sequence", journal, 2).batch()
            for offset in range(7):
                assert batch.handle("reads", 1, offset, -1, str, "made") == "made"
            with pytest.raises(SystemExit):
                batch.handle(*place, raising(SystemExit()))
    with closing(PoisonJournal.open(tmp_path / "poison")) as journal:
        assert dict(journal.counts) == {place: STARTS_MAX}
        assert RecordHandler("sequence", journal, 2).batch().handle(*place, str, "made") == Unhandled(None)


def test_a_batch_that_ended_leaves_nothing_noted(tmp_path: Path) -> None:
    with closing(PoisonJournal.open(tmp_path / "poison")) as journal:
        batch = RecordHandler("sequence", journal, 2).batch()
        batch.handle("reads", 1, 6, -1, str)
        batch.handle("reads", 1, 7, -1, str)
        batch.end()
    with closing(PoisonJournal.open(tmp_path / "poison")) as journal:
        assert not journal.counts
