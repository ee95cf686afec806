"""The table of topics."""

import ast
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from tidy.tree import File, sources

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord, TopicSpec
from connectors.log.topics import STATIONS, TOPICS, read_by, topic_specs, written_by
from state.model import topics as names
from state.model.errors import LogError

SPECS = topic_specs(2, timedelta(days=7))
CALLS = {
    "NewRecord", "SliceRecord", "Record", "TopicRecords", "partitions", "begin_offset", "end_offset", "offset_at",
    "record",
}  # fmt: skip
"""What takes the name of a topic first."""


def test_every_topic_has_writers_and_readers() -> None:
    known = {*STATIONS.split(), "gateway", "commands", "flows"}
    for topic in TOPICS:
        writers, readers = set(topic.writers.split()), set(topic.readers.split())
        assert writers, topic
        assert readers, topic
        assert writers <= known, topic
        assert readers <= known | {"others"}, topic
    assert written_by("inbox") == ("control", "ledger", "dead_letters")
    assert read_by("decide") == ("work",)


def test_a_name_of_a_topic_is_in_the_table_once() -> None:
    constants = [value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)]
    assert sorted([*constants, *names.DELIVER.values()]) == sorted(topic.name for topic in TOPICS)


def test_every_text_that_names_a_topic_is_in_the_table() -> None:
    """Where a topic's name is expected, and where a text looks like one."""
    known = {topic.name for topic in TOPICS}
    used = {name for file in sources() if file.is_product for name in topic_texts(file)}
    assert {"work", "ledger", "inbox", "dead_letters", "followers", "events.p0"} <= used
    assert used - known == set()


def topic_texts(file: File) -> Iterator[str]:
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call) and node.args and called(node) in CALLS:
            yield from texts_of(node.args[:1])
        elif isinstance(node, ast.Compare) and ast.unparse(node.left).endswith((".topic", "source[0]", "src[0]")):
            yield from texts_of(node.comparators)
        elif isinstance(node, ast.Constant):
            yield from (text for text in texts_of([node]) if re.fullmatch(r"(events|deliver)\.[a-z0-9]+", text))


def texts_of(nodes: Sequence[ast.expr]) -> Iterator[str]:
    yield from (each.value for each in nodes if isinstance(each, ast.Constant) and isinstance(each.value, str))


def called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def test_every_schema_is_of_a_topic() -> None:
    """A fence is in every topic that is not compacted, of whatever else it holds; `rollout` is of simulations alone."""
    known = {schema for topic in TOPICS for schema in topic.schemas.split()}
    texts = "\n".join(file.text for file in sources() if file.is_product)
    used = {*re.findall(r"([a-z_]+)/1\+(?:json|arrow)", texts), *re.findall(r'Schema\("([a-z_]+)"', texts)}
    assert used - {"fence", "rollout"} == known


def test_a_directory_with_a_topic_of_an_earlier_release_goes_on(tmp_path: Path) -> None:
    """A topic that left the table stays where it was made; nothing minds it."""
    with closing(EmbeddedLog(tmp_path, clock=lambda: time.time_ns() // 1_000_000)) as log:
        log.ensure_topics([TopicSpec("forgotten", 2, retention_ms=1000)])
        log.ensure_topics(SPECS)
        log.append([NewRecord("work", 1, b"", b"{}", ())])
    with closing(EmbeddedLog(tmp_path, clock=lambda: time.time_ns() // 1_000_000)) as log:
        log.ensure_topics(SPECS)
        assert (log.end_offset("work", 1), log.end_offset("forgotten", 0)) == (1, 0)
        with pytest.raises(LogError, match=r"has 2 partitions, not 3: .* set it as it was"):
            log.ensure_topics(topic_specs(3, timedelta(days=7)))
    assert "forgotten" not in {spec.name for spec in SPECS}
