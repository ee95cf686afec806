"""Retention goes on for as long as the system runs, whatever one look at the disk met."""

from contextlib import closing
from pathlib import Path

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord
from connectors.log.topics import topic_specs
from flows.config.settings import Settings
from flows.up.maintenance import maintain

DAY_MS = 86_400_000


def test_a_file_that_could_not_be_read_ends_no_retention(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with closing(EmbeddedLog(tmp_path, clock=lambda: DAY_MS)) as log:
        log.ensure_topics(topic_specs(settings.log.partitions, settings.log.retention))
        log.append([NewRecord("retries", 0, b"k", b"v")])
        manifest = tmp_path / "archive" / "ledger" / "0" / "manifest.json"
        manifest.mkdir(parents=True)
        looks = 0

        def wait(_seconds: float) -> bool:
            nonlocal looks
            looks += 1
            if looks == 2:
                manifest.rmdir()
            return looks > 2

        maintain(settings, wait)
        assert looks == 3
        assert log.begin_offset("retries", 0) == 1
