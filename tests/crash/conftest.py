"""What tests of crashes share."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from connectors.log.embedded import EmbeddedLog
from flows.open import clock_ms
from flows.topics import topic_specs

PARTITIONS = 4


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = EmbeddedLog(tmp_path, clock=clock_ms)
    opened.ensure_topics(topic_specs(PARTITIONS, timedelta(days=7)))
    yield opened
    opened.close()
