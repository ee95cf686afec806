"""The state of an event follows what the ledger holds of it."""

from pathlib import Path

import pytest
from helpers.gateway import Gateway, now_ms, running

from connectors.admission.interface import Known
from connectors.gateway.progress import State, state_of
from state.model.ledger import EventCounts

NOW = 1_000


def known(*, committed: bool = True, kept_until_ms: int = 0) -> Known:
    return Known("e1", "shop", committed, kept_until_ms, "DIRECT")


@pytest.mark.parametrize(
    ("remembered", "counts", "state"),
    [
        (known(committed=False), EventCounts(), "pending"),
        (known(), EventCounts(), "accepted"),
        (known(kept_until_ms=NOW + 1), EventCounts(), "kept"),
        (known(kept_until_ms=NOW), EventCounts(), "accepted"),
        (known(), EventCounts({"HELD": 1, "EMITTED": 5}, 5, {"DELIVERED": 5}), "waiting"),
        (known(), EventCounts({"AGGREGATING": 1}), "waiting"),
        (known(), EventCounts({"INBOX": 3, "SUPPRESSED": 1}), "decided"),
        (known(), EventCounts({"EMITTED": 1}, 2, {"DELIVERED": 1}), "decided"),
        (known(), EventCounts({"EMITTED": 1}, 2, {"DELIVERED": 1, "DEAD_LETTER": 1}), "delivered"),
        (known(), EventCounts({"EMITTED": 1}, 1, {"FELL_BACK": 1}), "decided"),
        (known(), EventCounts({"EMITTED": 1}, 1, {"FELL_BACK": 1, "DELIVERED": 1}), "delivered"),
        (known(), EventCounts({"EMITTED": 1}, 1, {"EXPIRED": 1}), "failed"),
        (known(committed=False), EventCounts({"INBOX": 1}), "decided"),
    ],
)
def test_the_furthest_that_is_true_of_the_whole(remembered: Known, counts: EventCounts, state: State) -> None:
    assert state_of(remembered, counts, NOW) == state


def test_whom_a_broadcast_reaches_is_said(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        posted = gateway.post({"type": "maintenance", "fan_out_type": "BROADCAST"}).json["event_id"]
        answer = gateway.get(f"/v1/notifications/{posted}").json
        assert "not users known only as followers or members" in answer["audience"]
        assert (answer["recipients"], answer["state"]) == (0, "accepted")
        kept = gateway.post({"type": "reminder", "target": "ann", "deliver_at": now_ms() + 60_000}).json["event_id"]
        assert state(gateway, kept) == "kept"


def state(gateway: Gateway, event_id: str) -> str:
    return str(gateway.get(f"/v1/notifications/{event_id}").json["state"])
