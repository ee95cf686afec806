"""Mutants of a module: one comparison or boolean operator of its functions changed, everything else as written.

Comparisons are negated, and ordering comparisons also moved by their boundary (`<` to `<=`); `and` and `or` are
exchanged, a `not` is dropped. On columns, where NumPy spells them so, `&` and `|` are exchanged and a `~` is dropped.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from helpers.places import ROOT

SIMULATED = [
    *(
        f"operators.{name}"
        for name in (
            *("decide", "filter", "gate", "route", "aggregate", "waiting_mail", "emit", "retract", "quiet", "fan_out"),
            *("bulk", "bulk_rules", "columns", "context", "dedup", "plan"),
        )
    ),
    *(f"state.decide.{name}" for name in ("emitted", "pending", "switches", "audience")),
    *("state.schedule.kept", "state.sequence.repeats"),
]
"""What decides on events: judged by cases and by the checks of `state_checks`."""
OWN_TESTS = {
    "operators.sequence": "operators/test_sequence.py",
    "state.disk.poison": "state/disk/test_poison.py",
    "state.decide.moving": "state/decide/test_moving.py",
    "state.decide.user_rows": "state/decide/test_user_rows.py",
    "state.decide.audience_rows": "state/decide/test_audience_rows.py",
    "state.decide.exports": "state/decide/test_exports.py",
    "operators.schedule": "operators/test_schedule.py",
    "operators.breaker": "operators/test_breaker.py",
    "operators.retry": "operators/test_retry.py",
    "operators.in_flight": "operators/test_in_flight.py",
    "operators.attempts": "operators/test_attempts.py",
    "operators.inbox_rows": "connectors/inbox",
    "operators.inbox_shard": "connectors/inbox",
    "operators.inbox_slices": "connectors/inbox",
    "flows.recovery.slots": "flows/recovery/test_slots.py",
}
"""What a simulation does not meet: judged by these tests of its own."""
MODULES = [*SIMULATED, *OWN_TESTS]

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_SPELLING: dict[type[ast.AST], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=", ast.In: "in",
    ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not", ast.And: "and", ast.Or: "or", ast.BitAnd: "&",
    ast.BitOr: "|",
}  # fmt: skip


UNCHANGED = -1
"""Stands for no change of a module, where a mutant has its number."""


class Mutant(NamedTuple):
    """`number` counts the changes of a module in the order of its source."""

    module: str
    number: int
    line: int
    column: int
    change: str
    text: str
    """The source line, without indentation."""

    @property
    def name(self) -> str:
        """What the list of equivalent mutants calls it: no line number, so that other edits do not unsettle it."""
        return f"{self.module}: {self.text}: {self.change}"

    @property
    def place(self) -> str:
        return f"{self.module.replace('.', '/')}.py:{self.line}:{self.column}"


class _Change(NamedTuple):
    node: ast.AST
    change: str
    replacement: ast.AST


def source_path(module: str) -> Path:
    """The file of a module."""
    return ROOT / (module.replace(".", "/") + ".py")


def mutants_of(module: str) -> list[Mutant]:
    """All mutants of a module."""
    text = source_path(module).read_text(encoding="utf-8")
    lines = text.splitlines()
    found = []
    for number, change in enumerate(_changes(ast.parse(text))):
        line, column = change.node.lineno, change.node.col_offset  # type: ignore[attr-defined]  # expressions have both
        found.append(Mutant(module, number, line, column, change.change, lines[line - 1].strip()))
    return found


def unchanged(mutants: Iterable[Mutant]) -> list[Mutant]:
    """The product as it is, once for each way in which one of the mutants is judged."""
    ways = {OWN_TESTS.get(mutant.module, ""): mutant.module for mutant in mutants}
    return [Mutant(module, UNCHANGED, 0, 0, "none", "") for module in ways.values()]


def mutated(module: str, number: int) -> ast.Module:
    """The module's tree with one change."""
    tree = ast.parse(source_path(module).read_text(encoding="utf-8"))
    chosen = list(_changes(tree))[number]
    _Replace(chosen.node, chosen.replacement).visit(tree)
    return ast.fix_missing_locations(tree)


class _Replace(ast.NodeTransformer):
    def __init__(self, node: ast.AST, replacement: ast.AST) -> None:
        self._node, self._replacement = node, replacement

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self._node:
            return ast.copy_location(self._replacement, node)
        return super().generic_visit(node)


def _changes(tree: ast.Module) -> Iterator[_Change]:
    for node in _expressions(tree):
        if isinstance(node, ast.Compare):
            yield from _comparison_changes(node)
        elif isinstance(node, ast.BoolOp):
            other = ast.Or if isinstance(node.op, ast.And) else ast.And
            yield _Change(node, _arrow(node.op, other()), ast.BoolOp(other(), node.values))
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
            yield _Change(node, "drop not" if isinstance(node.op, ast.Not) else "drop ~", node.operand)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
            operator = ast.BitOr() if isinstance(node.op, ast.BitAnd) else ast.BitAnd()
            yield _Change(node, _arrow(node.op, operator), ast.BinOp(node.left, operator, node.right))


def _comparison_changes(node: ast.Compare) -> Iterator[_Change]:
    for index, operator in enumerate(node.ops):
        for other in _COMPARISONS[type(operator)]:
            operators = [*node.ops]
            operators[index] = other()
            which = f" (comparison {index + 1})" if len(operators) > 1 else ""
            yield _Change(node, _arrow(operator, other()) + which, ast.Compare(node.left, operators, node.comparators))


def _arrow(before: ast.AST, after: ast.AST) -> str:
    return f"{_SPELLING[type(before)]} -> {_SPELLING[type(after)]}"


def _expressions(node: ast.AST) -> Iterator[ast.AST]:
    """Every node inside functions, in order; annotations are no decisions, nor are the type tests of isinstance."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            if isinstance(node, ast.Module) and not isinstance(child, ast.FunctionDef | ast.ClassDef):
                continue
            yield child
            yield from _expressions(child)
