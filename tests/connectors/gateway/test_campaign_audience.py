"""The table of an audience's file."""

from io import BytesIO
from pathlib import Path

from connectors.gateway.campaign_audience import AudienceTable, KnownOf
from state.model.admission import Outlook


def test_nothing_of_it_stays_on_disk_if_its_process_is_killed(tmp_path: Path) -> None:
    with AudienceTable(tmp_path, lambda _user: None, lambda _user: KnownOf(False, None, Outlook((), None))) as table:
        table.read(BytesIO(b"user\n" + b"".join(b"u%d\n" % number for number in range(30_000))), "csv")
        assert list(tmp_path.iterdir()) == []
        chunks = list(table.chunks("sale", 1, 500))
    assert sum(chunk.recipients for chunk in chunks) == table.recipients == 30_000
    assert len({user for chunk in chunks for user in chunk.users}) == 30_000
