"""The documents show the flows and the table of topics as they are; every flow can be drawn by itself."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from helpers import flow_topics
from helpers.places import ROOT
from helpers.up import carillon

from connectors.log.topics import STATIONS, read_by
from flows.commands.graph import prepare_directory
from flows.commands.picture import BEGIN, END, pages, with_picture
from flows.config.settings import Settings, child_environment
from flows.recovery.prepare import SEQUENCE_READS
from flows.steps.transactional.settings import SETTING_TOPICS


def test_the_pages_show_what_is() -> None:
    for page, picture in pages().items():
        text = page.read_text(encoding="utf-8")
        assert text == with_picture(text, picture), "type: make graph"


def test_flows_read_what_the_table_says(tmp_path: Path) -> None:
    """What they write comes from the table: their sinks know no other topic."""
    settings = replace(Settings(), data_dir=tmp_path)
    prepare_directory(settings)
    environment = child_environment(settings) | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, flow_topics.__file__, *STATIONS.split()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=True, cwd=ROOT)
    found: dict[str, list[str]] = json.loads(done.stdout)
    found["sequence"] += {*SEQUENCE_READS, "registry"} - {"work"}
    found["transactional"] += [*SETTING_TOPICS, "control"]
    for name in STATIONS.split():
        assert found[name], name
        assert set(found[name]) <= set(read_by(name)), name
    assert set(found["sequence"]) == set(read_by("sequence"))


def test_a_picture_takes_the_place_between_the_marks_only() -> None:
    assert with_picture(f"a\n{BEGIN}old{END}\nz", "new") == f"a\n{BEGIN}\nnew\n{END}\nz"


def test_graph_prints_a_flow() -> None:
    done = carillon("graph", "decide")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("flowchart TD\n")
    assert "decide.work" in done.stdout
