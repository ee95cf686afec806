"""One drill, small: a real `carillon up`, sleeping people, and a security alert. `make drill` plays all of them."""

from pathlib import Path

from drills.drill import play
from drills.incidents import INCIDENTS


def test_an_alert_at_three_in_the_morning(tmp_path: Path) -> None:
    verdict = play(tmp_path, "night", scale=0.25, seed=1)
    assert verdict.failed == []
    assert len(verdict.lines) >= 7


def test_every_drill_says_what_it_is() -> None:
    assert len(INCIDENTS) == 8
    assert all(incident.what for incident in INCIDENTS.values())
