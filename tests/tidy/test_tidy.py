"""Style as tests: what a linter has no rule for. Each rule has a list of exceptions that may only shrink."""

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.places import ROOT
from tidy.tree import Source, comments, sources, tracked

PRODUCT = ("flows", "operators", "connectors", "state")
FILE_LINES_MAX = 400
TEST_LINES_MAX = 600
"""Worked examples and laws read better together."""
FUNCTION_LINES_MAX = 70
MACHINE_PATHS = re.compile(
    "|".join((r"(?<![\w}])/wo" + r"rk/", r"/tm" + r"p/[\w.]", r"/ro" + r"ot/", r"/ho" + r"me/\w", r"/Us" + r"ers/\w"))
)
REGISTRY_HOSTS = re.compile(
    "|".join(
        ("py" + r"pi\.org", "python" + r"hosted", "npm" + r"js\.(org|com)", "artifact" + "ory", "codearti" + "fact")
    )
)
CLOCKS = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.sleep",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now", "datetime.date.today",
}  # fmt: skip
TEXT = {
    ".py",
    ".md",
    ".toml",
    ".sh",
    ".yml",
    ".yaml",
    ".json",
    ".txt",
    ".lock",
    ".html",
    ".mmd",
    ".css",
    ".js",
    ".ini",
    ".cfg",
}
BINARY_OK = {"Makefile", "run", ".gitignore"}

EXCEPTIONS: dict[str, set[str]] = {}
"""Rule to `path` or `path:name`. A line may leave this table; a test fails when a rule no longer needs one."""


def product(*tops: str) -> list[Source]:
    wanted = tops or PRODUCT
    return [source for source in sources() if source.name.split("/")[0] in wanted]


def judge(rule: str, findings: list[str]) -> None:
    """Compare what was found with the exceptions: nothing new, and no exception that is no longer needed."""
    allowed = EXCEPTIONS.get(rule, set())
    keys = {finding.split(" ")[0] for finding in findings}
    new = [finding for finding in findings if finding.split(" ")[0] not in allowed]
    assert not new, f"{rule}:\n  " + "\n  ".join(new)
    assert not allowed - keys, f"{rule}: exceptions no longer needed, delete them: {sorted(allowed - keys)}"


def test_the_tree_is_seen() -> None:
    assert len(product()) >= 10


def test_files_are_short() -> None:
    judge(
        "file length",
        [
            f"{source.name} has {count} lines, more than {most}"
            for source in sources()
            if (count := source.text.count("\n"))
            > (most := TEST_LINES_MAX if source.name.startswith("tests/") else FILE_LINES_MAX)
        ],
    )


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_functions_are_short() -> None:
    judge(
        "function length",
        [
            f"{source.name}:{node.name} has {length} lines, more than {FUNCTION_LINES_MAX}"
            for source in sources()
            for node in functions(source.tree)
            if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
        ],
    )


def test_every_ignore_is_explained() -> None:
    findings = []
    for source in sources():
        for token in comments(source):
            line = token.string
            if "noqa" in line and not re.search(r"noqa: ?[A-Z]+\d+(, ?[A-Z]+\d+)* +(#|-|:)? *\w+[\w ]{2,}", line):
                findings.append(f"{source.name}:{token.start[0]} noqa without a rule and a reason: {line}")
            if "type: ignore" in line and not re.search(r"type: ignore\[[\w, -]+\] +(#|-)? *\w+[\w ]{2,}", line):
                findings.append(f"{source.name}:{token.start[0]} type: ignore without a code and a reason: {line}")
            if "pragma: no cover" in line:
                findings.append(f"{source.name}:{token.start[0]} no coverage exemptions")
    judge("unexplained ignore", findings)


def test_packages_are_imported_by_name() -> None:
    """Names are imported from modules: a bare `import state` hides what is used and clashes with variables of that
    name.
    """
    judge(
        "bare import",
        [
            f"{source.name}:{node.lineno} import {alias.name}"
            for source in sources()
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Import)
            for alias in node.names
            if alias.name.split(".")[0] in PRODUCT
        ],
    )


def test_only_settings_reads_the_environment() -> None:
    findings = []
    for source in product():
        if source.name == "flows/config/settings.py":
            continue
        findings += [
            f"{source.name}:{getattr(node, 'lineno', 0)} {dotted(node)}"
            for node in ast.walk(source.tree)
            if dotted(node) in {"os.environ", "os.getenv", "os.putenv", "os.environb"}
        ]
    judge("environment", findings)


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def test_decisions_and_state_read_no_clock() -> None:
    findings = []
    for source in product("operators", "state"):
        imported = imported_names(source.tree)
        for node in ast.walk(source.tree):
            name = dotted(node)
            head, _, rest = name.partition(".")
            whole = ".".join(filter(None, (imported.get(head, head), rest)))
            if name in CLOCKS or whole in CLOCKS:
                findings.append(f"{source.name}:{getattr(node, 'lineno', 0)} {name}: time is an argument")
            if whole.split(".")[0] in {"random", "secrets"} or whole in {"uuid.uuid4", "uuid.uuid1", "os.urandom"}:
                findings.append(f"{source.name}:{getattr(node, 'lineno', 0)} {name}: randomness is an argument")
    judge("clock", findings)


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Local name to what it stands for, e.g. `time_ns` to `time.time_ns`."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({alias.asname or alias.name: alias.name for alias in node.names})
        if isinstance(node, ast.ImportFrom):
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def is_option_class(node: ast.AST) -> bool:
    if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
        return False
    return node.name.endswith(("Options", "Config")) or node.name == "Settings"


def test_files_are_replaced_in_one_way() -> None:
    """`state/disk/files.py` flushes what it renames and the directory; elsewhere one of the two is soon forgotten."""
    judge(
        "replaced file",
        [
            f"{source.name}:{node.lineno} {node.func.attr}: use state/disk/files.py"
            for source in product()
            if source.name != "state/disk/files.py"
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if node.func.attr in {"fsync", "rename", "link"} or (node.func.attr == "replace" and len(node.args) == 1)
            if not node.keywords  # other things than paths have fields to replace
        ],
    )


def test_every_option_is_documented_below_its_field() -> None:
    judge("undocumented option", [finding for source in product() for finding in undocumented(source)])


def undocumented(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if not (isinstance(node, ast.ClassDef) and is_option_class(node)):
            continue
        for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and not is_text(after):
                yield f"{source.name}:{node.name}.{statement.target.id} has no docstring below it"


def is_text(node: ast.stmt | None) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def test_nothing_is_left_to_do() -> None:
    words = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")) + r")\b")
    findings = [
        f"{source.name}:{number} {line.strip()}"
        for source in sources()
        for number, line in enumerate(source.text.splitlines(), 1)
        if words.search(line)
    ]
    for source in product():
        findings += [
            f"{source.name}:{node.lineno} NotImplementedError"
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Raise) and node.exc is not None and "NotImplemented" in ast.dump(node.exc)
        ]
    judge("unfinished", findings)


def test_no_client_library_is_patched() -> None:
    words = re.compile(r"\b(unittest\.mock|mock\.patch|MagicMock|mocker|monkeypatch\.setattr)\b")
    judge(
        "patched client",
        [
            f"{source.name}:{number} {line.strip()}"
            for source in sources()
            if source.path != Path(__file__).resolve()
            for number, line in enumerate(source.text.splitlines(), 1)
            if words.search(line)
        ],
    )


def lines_with(pattern: re.Pattern[str], accept: Callable[[str], bool] = lambda _: True) -> list[str]:
    found = []
    for path in tracked():
        if path.suffix not in TEXT and path.name not in BINARY_OK:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line) and accept(line):
                found.append(f"{path.relative_to(ROOT).as_posix()}:{number} {line.strip()[:120]}")
    return found


def test_no_file_names_a_registry() -> None:
    judge("registry host", lines_with(REGISTRY_HOSTS))


def test_no_file_names_a_path_of_one_machine() -> None:
    judge("machine path", lines_with(MACHINE_PATHS))


def test_no_error_is_swallowed() -> None:
    """An `except` whose body does nothing hides a fault: `pass` and `continue` need a comment that says why."""
    findings = []
    for source in product():
        lines = source.text.splitlines()
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.ExceptHandler) or not all(is_silent(statement) for statement in node.body):
                continue
            kinds = dotted(node.type) if node.type is not None else "everything"
            said = any("#" in line for line in lines[node.lineno - 1 : (node.end_lineno or node.lineno)])
            if not said or kinds in {"everything", "Exception", "BaseException"}:
                findings.append(f"{source.name}:{node.lineno} swallows {kinds or 'several errors'} without a reason")
    judge("swallowed error", findings)


def is_silent(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Pass | ast.Continue):
        return True
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def test_all_exceptions_are_of_one_tree() -> None:
    known = exception_names()
    findings = []
    for source in product():
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.ClassDef):
                continue
            bases = {dotted(base).split(".")[-1] for base in node.bases}
            if bases & {"Exception", "RuntimeError", "ValueError", "OSError", "KeyError", "TypeError"} and (
                node.name not in known
            ):
                findings.append(f"{source.name}:{node.name} derives from {sorted(bases)}, not from CarillonError")
    judge("exception tree", findings)


def exception_names() -> set[str]:
    tree = ast.parse((ROOT / "state/model/errors.py").read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def test_no_package_marker_under_tests() -> None:
    judge("package marker", [path.relative_to(ROOT).as_posix() for path in tracked() if _is_test_marker(path)])


def _is_test_marker(path: Path) -> bool:
    return path.name == "__init__.py" and path.relative_to(ROOT).parts[0] == "tests"


def test_private_names_stay_in_their_package() -> None:
    judge(
        "private import",
        [
            f"{source.name}:{node.lineno} from {node.module} import {alias.name}"
            for source in product()
            for node in ast.walk(source.tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PRODUCT
            for alias in node.names
            if alias.name.startswith("_")
        ],
    )


NOT_IMPORTED = {
    "tzdata": "data that zoneinfo finds by itself",
}
IMPORTED_AS = {"pyjwt": "jwt", "confluent-kafka": "confluent_kafka", "prometheus-client": "prometheus_client"}


def test_every_dependency_is_used_and_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[\[<>=!~ ]", line)[0] for line in project["dependencies"]]
    imported = {name.split(".")[0] for source in product() for name in imported_modules(source.tree)}
    unused = [name for name in names if IMPORTED_AS.get(name, name) not in imported and name not in NOT_IMPORTED]
    table = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("## Dependencies")[1]
    silent = [name for name in names if not re.search(rf"^\| .*{re.escape(name)}\b.*\|", table, re.MULTILINE)]
    judge(
        "dependency", [f"{name} is imported nowhere" for name in unused] + [f"{name} has no reason" for name in silent]
    )
    own = {*PRODUCT, *sys.stdlib_module_names, "__future__"}
    undeclared = imported - own - {IMPORTED_AS.get(name, name) for name in names}
    assert not undeclared, f"imported and not declared: {sorted(undeclared)}"


def imported_modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


@pytest.mark.parametrize("rule", sorted(EXCEPTIONS) or ["none"])
def test_every_exception_list_has_a_rule(rule: str) -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert rule == "none" or f'"{rule}"' in text.split("def judge", 1)[1]
