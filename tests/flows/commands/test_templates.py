"""`carillon templates`: files checked, published, compared, taken back, and followed by a process that renders."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from helpers.waiting import wait_for
from typer.testing import CliRunner, Result

from connectors.audit import decode_act
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.read_to_ends import stored_records
from connectors.templates import PublishedTexts
from flows.cli import app
from flows.process.open import clock_ms

Run = Callable[..., Result]
LIKE = {
    "title": "Curtida", "one": "{{ actor }} curtiu", "many": ["{{ who }} curtiram."],
    "_variants": "a 50, b 50", "b:push.title": "Oba",
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def run(tmp_path: Path, files: Path) -> Run:
    data = str(tmp_path / "data")
    assert CliRunner().invoke(app, ["topics", "create", "--data", data]).exit_code == 0
    files.mkdir()
    return lambda *words: CliRunner().invoke(app, ["templates", *words, "--data", data])


def opened(tmp_path: Path) -> EmbeddedLog:
    return EmbeddedLog(tmp_path / "data", clock=clock_ms)


def write(files: Path, place: str, texts: object) -> None:
    path = files / f"{place}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(texts))


def test_what_is_pushed_is_in_force_and_comes_back_the_same(run: Run, files: Path, tmp_path: Path) -> None:
    write(files, "like/pt", LIKE)
    assert run("diff", str(files)).exit_code == 1
    assert run("push", str(files), "--reason", "Brazil").output == "like/pt published\n"
    assert run("push", str(files)).output == "", "nothing differs"
    assert run("diff", str(files)).exit_code == 0
    pulled = tmp_path / "pulled"
    run("pull", str(pulled))
    first = (pulled / "like" / "pt.json").read_bytes()
    assert json.loads(first) == LIKE
    run("pull", str(pulled))
    assert (pulled / "like" / "pt.json").read_bytes() == first
    with closing(opened(tmp_path)) as log:
        (act,) = map(decode_act, stored_records(log, {("audit", 0): 0}))
    assert (act.act, act.reason, act.after) == ("template", "Brazil", LIKE)
    assert act.about == {"type": "like", "locale": "pt", "version": "1"}


def test_a_running_process_follows(run: Run, files: Path, tmp_path: Path) -> None:
    with (
        closing(opened(tmp_path)) as log,
        closing(PublishedTexts(log).start()) as published,
    ):
        assert published.texts("like", "pt-BR") is None
        write(files, "like/pt", LIKE)
        write(files, "like/default", {**LIKE, "title": "All"})
        run("push", str(files))
        wait_for(lambda: published.texts("like", "pt-BR") == LIKE)
        wait_for(lambda: (published.texts("like", None) or {}).get("title") == "All")
        assert published.texts("follow", "pt") is None
        (files / "like" / "pt.json").unlink()
        assert run("push", str(files)).output == "", "without --prune what has no file stays"
        assert run("push", str(files), "--prune").output == "like/pt taken back\n"
        wait_for(lambda: (published.texts("like", "pt_BR") or {}).get("title") == "All")
        write(files, "like/pt", LIKE)
        run("push", str(files))
    with closing(opened(tmp_path)) as log:
        acts = map(decode_act, stored_records(log, {("audit", 0): 0}))
        versions = [act.about["version"] for act in acts if act.about["locale"] == "pt"]
    assert versions == ["1", "2", "3"]


def test_one_fault_and_nothing_is_published(run: Run, files: Path) -> None:
    write(files, "like/pt", LIKE)
    write(files, "lik/pt", LIKE)
    write(files, "follow/pt", ["no object"])
    refused = run("push", str(files))
    assert refused.exit_code != 0
    assert "no type is named lik" in str(refused.exception)
    assert "write an object of texts" in str(refused.exception)
    (files / "lik" / "pt.json").unlink()
    (files / "follow" / "pt.json").unlink()
    assert run("diff", str(files)).output == "like/pt new\n"
