"""The files of the repository, as the tidy tests read them."""

import ast
import subprocess
import tokenize
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from helpers.places import ROOT


@dataclass(frozen=True)
class Source:
    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()


@cache
def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached"], cwd=ROOT, capture_output=True, check=True, timeout=30
    ).stdout.decode()
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@cache
def sources() -> list[Source]:
    found = []
    for path in tracked():
        if path.suffix == ".py":
            text = path.read_text(encoding="utf-8")
            found.append(Source(path, text, ast.parse(text)))
    return found


@cache
def comments(source: Source) -> list[tokenize.TokenInfo]:
    with source.path.open("rb") as stream:
        return [token for token in tokenize.tokenize(stream.readline) if token.type == tokenize.COMMENT]
