"""The files of the repository, as rules see them."""

from __future__ import annotations

import ast
import io
import subprocess
import tokenize
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from helpers.places import ROOT

PRODUCT = ("flows", "operators", "connectors", "state")
TEXT = set(".py .md .toml .sh .yml .yaml .json .txt .lock .html .mmd .css .js .ini .cfg .service .target".split())
TEXT_WITHOUT_SUFFIX = {"Makefile", "Dockerfile", "run", ".gitignore"}


@dataclass(frozen=True)
class File:
    """A text file by its name from the root."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def top(self) -> str:
        """The directory at the root."""
        return self.name.split("/")[0]

    @property
    def is_product(self) -> bool:
        return self.top in PRODUCT

    def lines(self) -> list[tuple[int, str]]:
        return list(enumerate(self.text.splitlines(), 1))

    def comments(self) -> list[tokenize.TokenInfo]:
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [token for token in tokens if token.type == tokenize.COMMENT]


@cache
def files() -> tuple[File, ...]:
    """All text files that git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=30).stdout.decode()
    paths = [ROOT / name for name in sorted(set(listed.split("\0"))) if name]
    return tuple(
        File(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8", errors="replace"))
        for path in paths
        if path.is_file() and (path.suffix in TEXT or path.name in TEXT_WITHOUT_SUFFIX)
    )


def sources() -> list[File]:
    """All Python files."""
    return [file for file in files() if is_source(file.name)]


def is_source(name: str) -> bool:
    return Path(name).suffix == ".py"
