"""Ids of events: UUIDs of version 7, in the order of time, never the same twice."""

import os
import uuid

from connectors.gateway.identifiers import EventIds


def test_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    new_id = EventIds(os.urandom)
    found = [new_id(1_700_000_000_000 + later) for later in range(1_000)]
    assert found == sorted(set(found))
    parsed = uuid.UUID(found[0])
    assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, found[0])
    assert parsed.int >> 80 == 1_700_000_000_000


def test_ids_of_one_instant_differ_by_their_random_part() -> None:
    new_id = EventIds(os.urandom)
    assert len({new_id(5) for _ in range(10_000)}) == 10_000
