"""The pictures in the documents: each is shown somewhere, and `make pictures` remakes each."""

import re
from pathlib import Path

from helpers.places import ROOT

DRAWN = re.compile(r'pictures\(tmp_path\) / "([a-z-]+\.png)"')
TEST = re.compile(r"^def (test_\w+)", re.MULTILINE)


def remade(path: Path) -> set[str]:
    """The pictures of a file's tests that `make pictures` runs: those with the word in their name."""
    parts = TEST.split(path.read_text(encoding="utf-8"))
    return {
        name
        for test, body in zip(parts[1::2], parts[2::2], strict=True)
        if "picture" in test
        for name in DRAWN.findall(body)
    }


def test_every_picture_is_remade_and_shown() -> None:
    kept = {path.name for path in (ROOT / "docs").glob("*.png")}
    tests = [*(ROOT / "tests/system").rglob("test_*.py"), *(ROOT / "tests/infra/examples").rglob("test_*.py")]
    assert kept == set().union(*map(remade, tests))
    shown = "".join(path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")))
    assert kept == set(re.findall(r"\((?:docs/)?([a-z-]+\.png)\)", shown))
