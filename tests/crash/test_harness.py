"""The crash harness on both profiles: at least 50 kills, and everything is exactly as if nothing had happened."""

import time
from pathlib import Path

import pytest
from crash.harness import crash_run
from crash.killer import FIRST_SECOND, NAMES, RECOVERY, SENDING, STEADY, SUPERVISOR

KILLS = {"embedded": 34, "kafka": 20}
SEEDS = {"embedded": 1, "kafka": 2}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("profile", ["embedded", "kafka"])
def test_nothing_is_lost_doubled_or_decided_otherwise(
    profile: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    environment = {"CARILLON_PROFILE": profile}
    if profile == "kafka":
        environment["CARILLON_KAFKA__BOOTSTRAP"] = request.getfixturevalue("kafka_bootstrap")
        environment["CARILLON_LOG__PREFIX"] = f"crash{time.time_ns()}."
    outcome = crash_run(tmp_path, seed=SEEDS[profile], kills=KILLS[profile], environment=environment)
    print(f"\n{profile}: {outcome.table()}")
    outcome.assert_exact()
    assert outcome.felt.total() >= KILLS[profile]
    assert {name for name, _ in outcome.felt} == {*NAMES, SUPERVISOR}, "somebody was never killed"
    # That a send was under way is all that can be asked for: whether its answer was stored before the kill is luck.
    assert {when for _, when in outcome.felt} >= {STEADY, FIRST_SECOND, RECOVERY, SENDING}
    assert outcome.stopped
