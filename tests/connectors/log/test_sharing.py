"""Several partitions of a source through one reader: one that has ended is not fetched for any more."""

from datetime import timedelta
from pathlib import Path

from connectors.log import NewRecord, TopicSpec
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.sharing import Feed, SharedLog, SharedReader


def test_a_partition_that_left_is_passed_over(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path, clock=lambda: 0)
    log.ensure_topics([TopicSpec("t", 2)])
    shared = SharedReader(
        SharedLog(lambda: EmbeddedLog(tmp_path, clock=lambda: 0)), fetch_max=10, wait=timedelta(milliseconds=10)
    )
    stays, leaves = Feed({("t", 0): 0}, 10), Feed({("t", 1): 0}, 10)
    for feed in (stays, leaves):
        shared.join(feed)
    assert shared.take(stays) == []
    shared.leave(leaves)
    log.append([NewRecord("t", partition, b"", b"x") for partition in (0, 1)])
    assert [record.partition for record in shared.take(stays)] == [0]
    shared.leave(stays)
    log.close()
