"""The table of topics."""

import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord, TopicSpec
from connectors.log.topics import topic_specs

SPECS = topic_specs(2, timedelta(days=7))


def test_a_directory_with_a_topic_of_an_earlier_release_goes_on(tmp_path: Path) -> None:
    """`outcomes` was made by every release before it left the table; nothing was ever in it."""
    with closing(EmbeddedLog(tmp_path, clock=lambda: time.time_ns() // 1_000_000)) as log:
        log.ensure_topics([TopicSpec("outcomes", 2, retention_ms=1000)])
        log.ensure_topics(SPECS)
        log.append([NewRecord("work", 1, b"", b"{}", ())])
    with closing(EmbeddedLog(tmp_path, clock=lambda: time.time_ns() // 1_000_000)) as log:
        log.ensure_topics(SPECS)
        assert (log.end_offset("work", 1), log.end_offset("outcomes", 0)) == (1, 0)
    assert "outcomes" not in {spec.name for spec in SPECS}
