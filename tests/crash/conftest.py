"""What tests of crashes share."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.topics import topic_specs
from flows.process.open import clock_ms

PARTITIONS = 4


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = EmbeddedLog(tmp_path, clock=clock_ms)
    opened.ensure_topics(topic_specs(PARTITIONS, timedelta(days=7)))
    yield opened
    opened.close()
