"""The table of an audience's file."""

from io import BytesIO
from pathlib import Path

from connectors.gateway.campaign_audience import AudienceTable, KnownOf
from state.model.admission import Outlook
from state.model.campaign import CampaignChunk

USERS = [f"u{number}" for number in range(30_000)]
FILE = "\n".join(["user", *USERS]).encode()


def table_in(directory: Path, campaign: str = "sale", *stages: int) -> AudienceTable:
    return AudienceTable(directory, lambda _: None, lambda _: KnownOf(False, None, Outlook((), None)), campaign, stages)


def cut(directory: Path, campaign: str, *stages: int, file: bytes = FILE) -> tuple[list[CampaignChunk], dict[int, int]]:
    with table_in(directory, campaign, *stages) as table:
        table.read(BytesIO(file), "csv")
        return list(table.chunks(1, 500)), table.stage_ends


def test_nothing_of_it_stays_on_disk_if_its_process_is_killed(tmp_path: Path) -> None:
    with table_in(tmp_path) as table:
        table.read(BytesIO(FILE), "csv")
        assert list(tmp_path.iterdir()) == []
        chunks = list(table.chunks(1, 500))
    assert sum(chunk.recipients for chunk in chunks) == table.recipients == 30_000
    assert {user for chunk in chunks for user in chunk.users} == set(USERS)


def test_stages_are_parts_of_the_recipients_by_a_hash_of_campaign_and_user(tmp_path: Path) -> None:
    chunks, ends = cut(tmp_path, "sale", 1, 10)
    assert list(ends) == [1, 10, 100]
    first, second = ({user for chunk in chunks[:end] for user in chunk.users} for end in (ends[1], ends[10]))
    assert 240 < len(first) < 360
    assert 2_800 < len(second) < 3_200
    assert ends[100] == len(chunks)
    assert {user for chunk in chunks for user in chunk.users} == set(USERS)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    again, ends = cut(tmp_path, "sale", 1, 10)
    assert {user for chunk in again[: ends[1]] for user in chunk.users} == first, "the same whenever it is sent"
    other, ends = cut(tmp_path, "news", 1, 10)
    assert len({user for chunk in other[: ends[1]] for user in chunk.users} & first) < 20, "others begin the next one"


def test_a_stage_that_has_nobody_is_none(tmp_path: Path) -> None:
    chunks, ends = cut(tmp_path, "sale", 1, file=b"user\nann\n")
    assert (len(chunks), list(ends.values())) == (1, [1])
    assert cut(tmp_path, "sale", file=b"user\nann\n")[1] == {100: 1}
