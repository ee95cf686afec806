"""What comments, docstrings and documents name exists: documents, their sections, paths and modules."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from helpers.places import ROOT
from tidy.tree import File, files, sources

MADE_WHILE_RUNNING = ("DIR/", "carillon-data/")
"""How paths in a data directory begin."""
NO_FILES = {"application/vnd.apache"}
"""What only looks like a path: media types."""
NO_DOCUMENTS = {"STALE", "EXPIRED", "PENDING", "NORMAL", "FULL", "SMPP"}
"""Capitals before a number that name no document: states of tokens and events, settings of SQLite, a protocol."""

PATH = re.compile(r"(?<![\w./<>{}:*$-])((?:[\w.-]+/)+[\w.-]+\.[a-z]{2,6})\b")
MODULE = re.compile(r"(?<!\.)\b(?:flows|operators|connectors|state)(?:\.\w+)+")
DOCUMENT = re.compile(r"(?<![\w/.-])[A-Z][A-Z_]+\.md\b")
NUMBERED = re.compile(r"\b([A-Z]{4,}) [A-Z]\d\d\b")
SECTION = re.compile(r"\b([A-Z]{4,})(?:\.md)? (\d(?:\.[A-G0-9]\b)*)")
HEADING = re.compile(r"\b(DECISIONS|TOPICS), \"?([A-Z].{0,60})")


@cache
def texts() -> dict[str, str]:
    """File to its words in one line: of a program, its docstrings and comments."""
    documents = {file.name: file.text for file in files() if file.name.endswith(".md")}
    programs = {source.name: "\n".join(said(source)) for source in sources()}
    return {name: " ".join(text.split()) for name, text in (documents | programs).items()}


def said(source: File) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value
    for token in source.comments():
        yield token.string.lstrip("# ")


def missing_paths(text: str) -> list[str]:
    """Paths are named from the top; a document in a folder says how to get there."""
    found = {path for path in PATH.findall(text) if not path.startswith(MADE_WHILE_RUNNING)} - NO_FILES
    return [path for path in found if not (ROOT / path.removeprefix("../")).exists()]


def missing_documents(text: str) -> list[str]:
    cited = set(DOCUMENT.findall(text)) | {f"{document}.md" for document, _ in SECTION.findall(text)}
    cited |= {f"{document}.md" for document in NUMBERED.findall(text)}
    return sorted(cited - {f"{word}.md" for word in NO_DOCUMENTS} - {path.name for path in ROOT.glob("*.md")})


def missing_modules(text: str) -> list[str]:
    return [module for module in MODULE.findall(text) if not is_module(module)]


def is_module(dotted: str) -> bool:
    """Whether it is a package or a module, or a name in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        place, rest = ROOT.joinpath(*parts[:count]), parts[count:]
        file = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        if file.is_file():
            return not rest or re.search(rf"\b{rest[0]}\b", file.read_text(encoding="utf-8")) is not None
    return False


@cache
def sections(document: str) -> set[str]:
    """Numbers of a document's headings, `1` or `3.A`, and of the numbered rules below them, `3.A.1`."""
    found: set[str] = set()
    heading = ""
    for line in (ROOT / document).read_text(encoding="utf-8").splitlines():
        if match := re.match(r"#+ (\d(?:\.[A-G])?)\b", line):
            heading = match[1]
            found.add(heading)
        elif match := re.match(r"(\d)\. ", line):
            found.add(f"{heading}.{match[1]}")
    return found


@cache
def headings(document: str) -> tuple[str, ...]:
    text = (ROOT / f"{document}.md").read_text(encoding="utf-8")
    return tuple(re.findall(r"^#+ (?:D\d+\. )?([^:\n]+)", text, re.MULTILINE))


def missing_sections(text: str) -> list[str]:
    numbered = [f"{document} {number}" for document, number in SECTION.findall(text) if document == "RULES"]
    wrong = [cited for cited in numbered if cited.removeprefix("RULES ") not in sections("RULES.md")]
    named = [(document, rest) for document, rest in HEADING.findall(text) if not rest.startswith(headings(document))]
    return wrong + [f"{document}, {rest}" for document, rest in named]


Check = Callable[[str], list[str]]
CHECKS: tuple[Check, ...] = (missing_paths, missing_documents, missing_modules, missing_sections)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_is_named_exists(check: Check) -> None:
    assert {name: missing for name, text in texts().items() if (missing := check(text))} == {}


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (missing_paths, "see `flows/steps/nowhere.py`"),
        (missing_documents, "as SKETCHES 2.1 has it"),
        (missing_documents, "see NOWHERE.md"),
        (missing_modules, "see `flows.steps.nowhere`"),
        (missing_modules, "see `flows.decide.nowhere_at_all`"),
        (missing_sections, "(RULES 9)"),
        (missing_sections, "(RULES 3.D.7)"),
        (missing_sections, "(DECISIONS, Two ordered logs)"),
        (missing_sections, '(TOPICS, "Nowhere")'),
    ],
)
def test_what_is_missing_is_found(check: Check, text: str) -> None:
    assert check(text) != []


def test_much_is_cited() -> None:
    text = " ".join(texts().values())
    assert len(PATH.findall(text)) > 100
    assert len(MODULE.findall(text)) > 50
    assert len(SECTION.findall(text)) > 100
    assert len(HEADING.findall(text)) > 30
