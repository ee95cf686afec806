"""What the end of a part tells: filters miss nothing and rule out most, and bounds say of which times rows are."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.logs import captured_logs
from helpers.records import decision

from connectors.archive.forms import LEDGER
from connectors.archive.parquet import ArchiveWriter
from connectors.archive.part_ends import row_groups_of
from connectors.archive.scan import equal, matching_rows, newest_row_ms, one_of, within
from connectors.log.interface import Record
from state.ledger import PACKED, all_columns, packed_ledger
from state.packed import packed_rows

ROWS, GROUP = 5_000, 1_000


@pytest.fixture
def part(tmp_path: Path) -> Path:
    table = pa.table(
        {
            "kind": ["decision"] * ROWS, "key_group": [7] * ROWS, "log_ms": range(ROWS),
            "event_id": [f"e{number}ü" for number in range(ROWS)], "emission_id": [None] * ROWS,
        }
    )  # fmt: skip
    whole = all_columns(packed_rows(table, PACKED))
    pq.write_table(whole, tmp_path / "part", compression="zstd", row_group_size=GROUP, **LEDGER.written)
    return tmp_path / "part"


def test_a_filter_misses_nothing_and_rules_out_nearly_all_of_the_rest(part: Path) -> None:
    groups = row_groups_of(part)
    assert [group.rows for group in groups] == [GROUP] * (ROWS // GROUP)
    for number in range(0, ROWS, 7):
        assert equal("event_id", f"e{number}ü").possible(groups[number // GROUP])
    wrong = sum(group.may_have("event_id", [f"e{number}"]) for group in groups for number in range(1_000))
    assert wrong < 150, "one of a hundred is told wrongly"
    assert not any(equal("emission_id", "e1").possible(group) for group in groups), "no row has one"
    assert not any(one_of("event_id", []).possible(group) for group in groups)
    many = [f"e{number}" for number in range(1_000)]
    assert all(group.may_have("event_id", many) for group in groups), "so many are not asked one by one"


def test_bounds_say_which_times_a_part_has_rows_of(part: Path) -> None:
    assert newest_row_ms(part) == ROWS - 1
    second = within("log_ms", 1_500, 2_000)
    assert [group.number for group in row_groups_of(part) if second.possible(group)] == [1]
    assert [rows.tolist() for _, rows, _ in matching_rows(part, [equal("event_id", "e1700ü")], ["time"])] == [[700]]


def test_another_file_under_the_same_name_is_read_anew(part: Path) -> None:
    first = row_groups_of(part)
    assert row_groups_of(part) is first
    content = part.read_bytes()
    part.unlink()
    with pytest.raises(FileNotFoundError):
        row_groups_of(part)
    part.write_bytes(content)
    assert row_groups_of(part) is not first


def test_a_part_of_an_earlier_release_has_neither_filters_nor_all_bounds(part: Path) -> None:
    older = {**LEDGER.written, "write_statistics": ["kind", "user"]}
    del older["bloom_filter_options"]
    pq.write_table(pq.read_table(part), part, row_group_size=GROUP, **{**older, "use_dictionary": False})
    assert newest_row_ms(part) is None
    assert all(equal("event_id", "none").possible(group) for group in row_groups_of(part))
    assert all(within("log_ms", 9_000, None).possible(group) for group in row_groups_of(part))
    assert [rows.tolist() for _, rows, _ in matching_rows(part, [equal("event_id", "e1700ü")], ["time"])] == [[700]]


def test_a_flipped_bit_in_a_filter_hides_nothing(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path)
    decided = [decision("ann", f"e{number}", "INBOX", ("d", number, 0)) for number in range(400)]
    records = [Record(each.topic, 0, at, 0, each.key, each.value, each.headers) for at, each in enumerate(decided)]
    writer.write(packed_ledger(records)[0], 400)
    file = tmp_path / writer.manifest.parts[0].file
    [group] = row_groups_of(file)
    (start, length), sound = group.filters["event_id"], file.read_bytes()
    zeroed = bytearray(sound)
    zeroed[start + length - 4_096 : start + length] = bytes(4_096)
    file.write_bytes(zeroed)
    tests = [equal("event_id", f"e{number}") for number in range(400)]
    assert not all(group.may_have("event_id", [f"e{number}"]) for number in range(400)), "it would hide some"
    with captured_logs() as events:
        assert all(test.possible(each) for test in tests for each in row_groups_of(file))
    assert [(each["event"], each["file"]) for each in events] == [("archive_filter_damaged", str(file))]
    file.write_bytes(sound)
    assert not row_groups_of(file)[0].may_have("event_id", ["none of these"])
