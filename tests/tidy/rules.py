"""What a linter has no rule for: a rule takes files and tells what it found. `test_tidy.py` shows that each can."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from typing import TypeGuard

from tidy.tree import PRODUCT, File, is_source

Rule = Callable[[Sequence[File]], Iterator[str]]
FILE_LINES_MAX = 400
TEST_LINES_MAX = 600
"""Worked examples and laws read better together."""
WRITTEN_BY_PROGRAMS = {"infra/sdk/python/carillon_client/types.py"}
FUNCTION_LINES_MAX = 70
MACHINE_PATHS = re.compile(
    "|".join((r"(?<![\w}])/wo" + r"rk/", r"/tm" + r"p/[\w.]", r"/ro" + r"ot/", r"/ho" + r"me/\w", r"/Us" + r"ers/\w"))
)
REGISTRY_HOSTS = re.compile(
    "|".join(
        ("py" + r"pi\.org", "python" + r"hosted", "npm" + r"js\.(org|com)", "artifact" + "ory", "codearti" + "fact")
    )
)
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")) + r")\b")
PATCHING = re.compile(
    r"\b(unittest\.mo" + r"ck|mo" + r"ck\.patch|Magic" + r"Mock|moc" + r"ker|monkeypatch\.set" + r"attr)\b"
)
CLOCKS = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.sleep",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now", "datetime.date.today",
}  # fmt: skip
CLIENTS = re.compile(
    r"\bwreq\.Client\(|\baiosmtplib\.SMTP\(|\bcreate_connection\(|\bopen_connection\(|\bsocket\.socket\("
    r"|\bimport (aiohttp|httpx|requests|urllib3|http\.client|urllib\.request)\b"
    r"|\bfrom (http import client|urllib import request)"
)
WAYS_OUT = {
    "connectors/providers/egress.py": "the guarded one, to addresses that strangers gave",
    "connectors/providers/transport.py": "to the origin of a provider that is configured",
    "connectors/providers/email/smtp.py": "to the relay that is configured",
    "connectors/providers/sms/smpp_session.py": "to the SMSC that is configured",
}
BUILT_IN_ERRORS = {"Exception", "RuntimeError", "ValueError", "OSError", "KeyError", "TypeError"}
ERRORS = "state/model/errors.py"
ONE_MEANING = {
    "build": "a flow as configured", "wire": "a flow over any log",
    "main": "a program's entry", "serve": "until a signal",
    "build_request": "a delivery as its provider takes it", "parse_response": "a provider's answer as a result",
    "read_start": "where a lane's file says to read on", "text_errors": "the rule, and the check that it is",
}  # fmt: skip
"""Public functions that several modules have, as they do the same thing."""


def file_length(files: Sequence[File]) -> Iterator[str]:
    for file in python(files):
        count, most = file.text.count("\n"), TEST_LINES_MAX if file.top == "tests" else FILE_LINES_MAX
        if count > most and file.name not in WRITTEN_BY_PROGRAMS:
            yield f"{file.name} has {count} lines, more than {most}"


def function_length(files: Sequence[File]) -> Iterator[str]:
    for file in python(files):
        for node in ast.walk(file.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    yield f"{file.name}:{node.name} has {length} lines, more than {FUNCTION_LINES_MAX}"


def unexplained_ignore(files: Sequence[File]) -> Iterator[str]:
    for file in python(files):
        for token in file.comments():
            line, place = token.string, f"{file.name}:{token.start[0]}"
            if "noqa" in line and not re.search(r"noqa: ?[A-Z]+\d+(, ?[A-Z]+\d+)* +(#|-|:)? *\w+[\w ]{2,}", line):
                yield f"{place} noqa without a rule and a reason: {line}"
            if "type: ignore" in line and not re.search(r"type: ignore\[[\w, -]+\] +(#|-)? *\w+[\w ]{2,}", line):
                yield f"{place} type: ignore without a code and a reason: {line}"
            if "pragma: no cover" in line:
                yield f"{place} no coverage exemptions"


def bare_import(files: Sequence[File]) -> Iterator[str]:
    """Names are imported from modules: `import state` hides what is used and clashes with variables of that name."""
    for file in python(files):
        for node in ast.walk(file.tree):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            yield from (f"{file.name} import {name}" for name in named if name.split(".")[0] in PRODUCT)


def environment(files: Sequence[File]) -> Iterator[str]:
    """Only settings reads it."""
    for file in product(files):
        for node in ast.walk(file.tree):
            reads = dotted(node) in {"os.environ", "os.getenv", "os.putenv", "os.environb"}
            if reads and file.name != "flows/config/settings.py":
                yield f"{file.name}:{getattr(node, 'lineno', 0)} {dotted(node)}"


def clock(files: Sequence[File]) -> Iterator[str]:
    """Decisions and state read no clock and throw no dice."""
    for file in product(files, "operators", "state"):
        imported = imported_names(file.tree)
        for node in ast.walk(file.tree):
            name, line = dotted(node), getattr(node, "lineno", 0)
            head, _, rest = name.partition(".")
            whole = ".".join(filter(None, (imported.get(head, head), rest)))
            if name in CLOCKS or whole in CLOCKS:
                yield f"{file.name}:{line} {name}: time is an argument"
            if whole.split(".")[0] in {"random", "secrets"} or whole in {"uuid.uuid4", "uuid.uuid1", "os.urandom"}:
                yield f"{file.name}:{line} {name}: randomness is an argument"


def undocumented_option(files: Sequence[File]) -> Iterator[str]:
    """Each has its text below its field."""
    for file in product(files):
        for node in ast.walk(file.tree):
            body = node.body if is_options(node) else []
            for statement, after in zip(body, [*body[1:], None][: len(body)], strict=True):
                if isinstance(statement, ast.AnnAssign) and not is_text(after):
                    yield f"{file.name}:{statement.lineno} {ast.unparse(statement.target)} has no docstring below it"


def is_options(node: ast.AST) -> TypeGuard[ast.ClassDef]:
    if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
        return False
    return node.name.endswith(("Options", "Config")) or node.name == "Settings"


def is_text(node: ast.stmt | None) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def replaced_file(files: Sequence[File]) -> Iterator[str]:
    """`state/disk/files.py` flushes what it renames and the directory; elsewhere one of the two is soon forgotten."""
    for file in product(files):
        for node in ast.walk(file.tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.keywords:
                continue  # other things than paths have fields to replace
            how = node.func.attr
            replaces = how in {"fsync", "rename", "link"} or (how == "replace" and len(node.args) == 1)
            if replaces and file.name != "state/disk/files.py":
                yield f"{file.name}:{node.lineno} {how}: use state/disk/files.py"


def unfinished(files: Sequence[File]) -> Iterator[str]:
    for file in python(files):
        yield from (f"{file.name}:{number} {line.strip()}" for number, line in file.lines() if UNFINISHED.search(line))
    for file in product(files):
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Raise) and node.exc is not None and "NotImplemented" in ast.dump(node.exc):
                yield f"{file.name}:{node.lineno} NotImplementedError"


def patched_client(files: Sequence[File]) -> Iterator[str]:
    """Tests talk to servers, not to patched libraries."""
    for file in python(files):
        yield from (f"{file.name}:{number} {line.strip()}" for number, line in file.lines() if PATCHING.search(line))


def registry_host(files: Sequence[File]) -> Iterator[str]:
    yield from matching(files, REGISTRY_HOSTS)


def machine_path(files: Sequence[File]) -> Iterator[str]:
    yield from matching(files, MACHINE_PATHS)


def matching(files: Sequence[File], pattern: re.Pattern[str]) -> Iterator[str]:
    for file in files:
        yield from (f"{file.name}:{n} {line.strip()[:120]}" for n, line in file.lines() if pattern.search(line))


def swallowed_error(files: Sequence[File]) -> Iterator[str]:
    """An `except` whose body does nothing hides a fault: `pass` and `continue` need a comment that says why."""
    for file in product(files):
        lines = file.text.splitlines()
        for node in ast.walk(file.tree):
            if not isinstance(node, ast.ExceptHandler) or not all(is_silent(statement) for statement in node.body):
                continue
            kinds = dotted(node.type) if node.type is not None else "everything"
            said = any("#" in line for line in lines[node.lineno - 1 : (node.end_lineno or node.lineno)])
            if not said or kinds in {"everything", "Exception", "BaseException"}:
                yield f"{file.name}:{node.lineno} swallows {kinds or 'several errors'} without a reason"


def is_silent(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Pass | ast.Continue):
        return True
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def way_out(files: Sequence[File]) -> Iterator[str]:
    """What the flows connect to is opened in few places, so that no address of a stranger's is called elsewhere."""
    guarded = [file for file in product(files, "connectors", "operators", "state") if file.name not in WAYS_OUT]
    yield from matching(guarded, CLIENTS)


def exception_tree(files: Sequence[File]) -> Iterator[str]:
    """All errors of ours derive from those of one file."""
    for file in product(files):
        for node in ast.walk(file.tree):
            bases = {dotted(base).split(".")[-1] for base in node.bases} if isinstance(node, ast.ClassDef) else set()
            if isinstance(node, ast.ClassDef) and bases & BUILT_IN_ERRORS and file.name != ERRORS:
                yield f"{file.name}:{node.name} derives from {sorted(bases)}, not from CarillonError"


def package_marker(files: Sequence[File]) -> Iterator[str]:
    """Tests are imported by path."""
    yield from (file.name for file in files if file.top == "tests" and file.name.endswith("/__init__.py"))


def private_import(files: Sequence[File]) -> Iterator[str]:
    for file in product(files):
        for node in ast.walk(file.tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PRODUCT:
                for alias in node.names:
                    if alias.name.startswith("_"):
                        yield f"{file.name}:{node.lineno} from {node.module} import {alias.name}"


def room_of_tests(files: Sequence[File]) -> Iterator[str]:
    """Tests of a package are in its room under `tests/`, named after the module that they are about."""
    names = {file.name for file in python(files)}
    for name in sorted(names):
        room, _, file = name.removeprefix("tests/").rpartition("/")
        if not name.startswith("tests/") or room.split("/")[0] not in PRODUCT or file == "conftest.py":
            continue
        subject = file.removeprefix("test_").removesuffix(".py")
        modules = {path.stem for path in map(PurePath, names) if path.parent == PurePath(room)}
        modules |= {path.parent.name for path in map(PurePath, names) if path.parent.parent == PurePath(room)}
        is_named = any(subject == module or subject.startswith(f"{module}_") for module in modules)
        if not file.startswith("test_") or not (is_named or subject.endswith("_laws")):
            yield f"{name} is named after no module of {room}"


def product(files: Sequence[File], *tops: str) -> list[File]:
    return [file for file in python(files) if file.top in (tops or PRODUCT)]


def python(files: Sequence[File]) -> list[File]:
    return [file for file in files if is_source(file.name)]


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Local name to what it stands for, e.g. `time_ns` to `time.time_ns`."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({alias.asname or alias.name: alias.name for alias in node.names})
        if isinstance(node, ast.ImportFrom):
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def name_of_two_things(files: Sequence[File]) -> Iterator[str]:
    """One word, one meaning (GLOSSARY.md): classes, type aliases, and the public functions of modules."""
    found: dict[str, list[str]] = {}
    for file in product(files):
        for name in defined_names(file.tree):
            found.setdefault(name, []).append(file.name)
    for name, places in found.items():
        if len(places) > 1 and name not in ONE_MEANING:
            yield f"{name} is defined in {', '.join(places)}"


def defined_names(tree: ast.Module) -> Iterator[str]:
    yield from (node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            yield from (name for name in names if re.fullmatch(r"_?[A-Z]\w*[a-z]\w*", name))


RULES: tuple[Rule, ...] = (
    file_length, function_length, unexplained_ignore, bare_import, environment, clock, undocumented_option, unfinished,
    patched_client, registry_host, machine_path, swallowed_error, exception_tree, replaced_file, package_marker,
    private_import, way_out, room_of_tests, name_of_two_things,
)  # fmt: skip
