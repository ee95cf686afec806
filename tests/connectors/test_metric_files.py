"""What other processes wrote is shown beside this process's own metrics, in one text that Prometheus reads."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from helpers.places import ROOT
from prometheus_client.parser import text_string_to_metric_families

from connectors.console.figures import Figures
from connectors.metric_files import STALE_AFTER, all_metrics, write_metrics
from connectors.metrics import DEAD_LETTERS

OTHER = """
import sys
from pathlib import Path
from connectors.metric_files import write_metrics
from connectors.metrics import BREAKER_STATE, DEAD_LETTERS
BREAKER_STATE.labels("apns").set(3)
DEAD_LETTERS.labels("deliver").inc(7)
write_metrics(Path(sys.argv[1]), "deliver")
"""


def _values(directory: Path | None, name: str) -> dict[str | None, float]:
    """By process, for label sets with stage or provider as here."""
    families = list(text_string_to_metric_families(all_metrics(directory).decode()))
    assert len({family.name for family in families}) == len(families), "each is said once"
    samples = [each for family in families for each in family.samples if each.name == name]

    def chosen(labels: Mapping[str, str]) -> bool:
        return labels.get("stage", "deliver") == "deliver" and labels.get("provider", "apns") == "apns"

    return {each.labels.get("process"): each.value for each in samples if chosen(each.labels)}


def test_what_another_process_counts_is_shown_until_it_is_stale(tmp_path: Path) -> None:
    DEAD_LETTERS.labels("deliver").inc(0)
    own = _values(None, "carillon_dead_letters_total")[None]
    subprocess.run([sys.executable, "-c", OTHER, str(tmp_path)], check=True, cwd=ROOT, timeout=60)
    assert _values(tmp_path, "carillon_dead_letters_total") == {None: own, "deliver": 7.0}
    assert _values(tmp_path, "carillon_breaker_state")["deliver"] == 3.0
    running = [line for line in all_metrics(tmp_path).decode().splitlines() if line.startswith("carillon_build_info{")]
    said = version("carillon")
    assert running == [
        f'carillon_build_info{{version="{said}"}} 1.0',
        f'carillon_build_info{{process="deliver",version="{said}"}} 1.0',
    ]
    assert Figures(tmp_path).read().versions == {said: ["this gateway", "deliver"]}
    old = time.time() - STALE_AFTER.total_seconds() - 1
    os.utime(tmp_path / "deliver.prom", (old, old))
    assert _values(tmp_path, "carillon_dead_letters_total") == {None: own}


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for _ in range(2):
        write_metrics(tmp_path, "decide")
    assert [file.name for file in tmp_path.iterdir()] == ["decide.prom"]
    assert b'process="decide"' in (tmp_path / "decide.prom").read_bytes()


def test_each_look_shows_the_same_and_a_file_that_is_none_hides_no_other(tmp_path: Path) -> None:
    """What says nothing but the version of Python is one object for the life of the process."""
    write_metrics(tmp_path, "decide")
    (tmp_path / "another.prom").write_text("x{ 1\n")
    (tmp_path / "unflushed.prom").write_bytes(b"\xff\x80 1\n")
    text = [all_metrics(tmp_path) for _ in range(3)][-1]
    assert text.count(b"python_info{") == 2
    assert b"python_info{implementation" in text, "its own is its own still"
