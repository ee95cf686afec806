"""The picture in ARCHITECTURE.md is the one that the flows draw; every flow can be drawn by itself."""

from helpers.up import carillon

from flows.commands.picture import BEGIN, END, FILE, draw, with_picture


def test_the_page_shows_the_graph_as_it_is() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert text == with_picture(text, draw()), "type: make graph"


def test_a_picture_takes_the_place_between_the_marks_only() -> None:
    assert with_picture(f"a\n{BEGIN}old{END}\nz", "new") == f"a\n{BEGIN}\n```mermaid\nnew\n```\n{END}\nz"


def test_graph_prints_a_flow() -> None:
    done = carillon("graph", "decide")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("flowchart TD\n")
    assert "decide.work" in done.stdout
