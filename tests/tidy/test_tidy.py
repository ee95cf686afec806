"""Style as tests: the tree keeps every rule, and every rule can condemn."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator

import pytest
from helpers.places import ROOT
from tidy.rules import FILE_LINES_MAX, FUNCTION_LINES_MAX, RULES, TEST_LINES_MAX, Rule
from tidy.tree import PRODUCT, File, files, sources

BAD = {
    "file_length": [File("state/x.py", "\n" * (FILE_LINES_MAX + 1)), File("tests/x.py", "\n" * (TEST_LINES_MAX + 1))],
    "function_length": [File("bench/x.py", "def f():\n" + "    f()\n" * FUNCTION_LINES_MAX)],
    "unexplained_ignore": [
        File("infra/x.py", f"f()  # {words}\n")
        for words in ("no" + "qa", "no" + "qa: E501", "type: ig" + "nore", "type: ig" + "nore[x]", "pragma: no cover")
    ],
    "bare_import": [File("tests/x.py", "import state.model"), File("flows/x.py", "def f():\n    import operators")],
    "environment": [File("flows/x.py", "import os\nos.environ['A']"), File("state/x.py", "import os\nos.getenv('A')")],
    "clock": [
        File("state/x.py", "import time\ntime.time()"),
        File("operators/x.py", "from time import time_ns as now\nnow()"),
        File("operators/x.py", "import random as dice\ndice.random()"),
        File("state/x.py", "from uuid import uuid4\nuuid4()"),
    ],
    "replaced_file": [File("flows/x.py", f"{call}") for call in ("a.rename(b)", "a.replace(b)", "os.fsync(a)")],
    "undocumented_option": [
        File("flows/x.py", "class XOptions:\n    a: int = 1\n"),
        File("connectors/x.py", "class XConfig:\n    a: int\n    b: int\n    '''Text.'''\n"),
    ],
    "unfinished": [
        File("tests/x.py", "# TO" + "DO: more"), File("infra/x.py", "# FIX" + "ME"),
        File("state/x.py", "def f():\n    raise NotImplementedError"),
    ],
    "patched_client": [
        File("tests/x.py", "from unittest.mo" + "ck import patch"), File("tests/x.py", "def f(moc" + "ker): ..."),
    ],
    "registry_host": [
        File("infra/x.sh", "curl https://py" + "pi.org/simple"), File("x.lock", "https://files.python" + "hosted.org"),
    ],
    "machine_path": [File("README.md", "see /ho" + "me/ada/x"), File("Makefile", "DATA = /tm" + "p/data")],
    "swallowed_error": [
        File("flows/x.py", "try:\n    f()\nexcept KeyError:\n    pass\n"),
        File("flows/x.py", "for x in y:\n    try:\n        f()\n    except Exception:\n        continue  # a reason\n"),
    ],
    "way_out": [
        File("connectors/x.py", "import urllib.request\n"), File("operators/x.py", "wreq.Client()\n"),
        File("connectors/providers/x.py", "await loop.create_connection(f)\n"),
    ],
    "exception_tree": [File("flows/x.py", "class X(ValueError): ..."), File("state/x.py", "class X(Exception): ...")],
    "package_marker": [File("tests/flows/__init__.py", "")],
    "private_import": [File("flows/x.py", "from state.ledger import _rows")],
    "room_of_tests": [
        File("tests/state/test_ledger.py", ""), File("tests/state/helper.py", ""), File("tests/flows/up/test_x.py", ""),
    ],
    "name_of_two_things": [
        File("state/x.py", "class X: ...\nclass X: ...\n"), File("state/x.py", "def read(): ...\ndef read(): ...\n"),
        File("flows/x.py", "class Xs: ...\nXs = list[int]\n"),
    ],
}  # fmt: skip
"""By rule, files each of which it must condemn."""
GOOD = [
    File("state/__init__.py", ""), File("state/ledger.py", "import datetime\nfrom time import gmtime\n"),
    File("tests/state/test_ledger.py", ""), File("tests/state/test_ledger_rows.py", ""),
    File("tests/state/test_x_laws.py", ""), File("tests/conftest.py", ""), File("tests/flows/conftest.py", ""),
    File("flows/x.py", "try:\n    f()\nexcept KeyError:\n    pass  # it is gone, which is what was wanted\n"),
    File("flows/y.py", "class XOptions:\n    a: int = 1\n    '''Text.'''\n"),
    File("bench/x.py", "f()  # no" + "qa: E501 - the table is wide\n"),
]  # fmt: skip


def named(rule: Rule) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_the_tree_keeps(rule: Rule) -> None:
    assert list(rule(files())) == []


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_what_breaks_a_rule_is_found(rule: Rule) -> None:
    assert [file for file in BAD[named(rule)] if not list(rule([file]))] == []
    assert list(rule(GOOD)) == []


def test_the_whole_tree_is_seen() -> None:
    tops = {file.top for file in sources()}
    assert tops == {*PRODUCT, "tests", "bench", "infra"}
    on_disk = {path.relative_to(ROOT).as_posix() for top in tops for path in (ROOT / top).rglob("*.py")}
    assert {file.name for file in sources()} == on_disk
    assert {"Makefile", "README.md", "infra/Dockerfile", ".ci/run"} <= {file.name for file in files()}


NOT_IMPORTED = {
    "tzdata": "data that zoneinfo finds by itself",
}
IMPORTED_AS = {
    "jsonschema-rs": "jsonschema_rs",
    "pyjwt": "jwt",
    "confluent-kafka": "confluent_kafka",
    "prometheus-client": "prometheus_client",
}


def test_every_dependency_is_used_and_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[\[<>=!~ ]", line)[0] for line in project["dependencies"]]
    imported = {name.split(".")[0] for file in sources() if file.is_product for name in imported_modules(file.tree)}
    unused = [name for name in names if IMPORTED_AS.get(name, name) not in imported and name not in NOT_IMPORTED]
    assert unused == [], "imported nowhere"
    table = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("## Dependencies")[1]
    silent = [name for name in names if not re.search(rf"^\| .*{re.escape(name)}\b.*\|", table, re.MULTILINE)]
    assert silent == [], "without a reason in ARCHITECTURE.md"
    own = {*PRODUCT, *sys.stdlib_module_names, "__future__"}
    undeclared = imported - own - {IMPORTED_AS.get(name, name) for name in names}
    assert undeclared == set(), "imported and not declared"


def imported_modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
