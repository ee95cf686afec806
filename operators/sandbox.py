"""How a template runs: in a sandbox, bounded, on nothing but its values (RULES 3.C).

Nothing that a template may say makes more of its values than it has places for them: no loops, calls or variables, no
products, and of filters those of a list. So its source and its values bound the time and the memory that it takes.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Template, Undefined, nodes, pass_context, pass_eval_context
from jinja2 import TemplateError as JinjaError
from jinja2.filters import do_replace
from jinja2.meta import find_undeclared_variables
from jinja2.nodes import EvalContext
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from operators.locales import plural_text, time_said
from state.model.errors import TemplateError

OUTPUT_MAX = 20_000
"""Characters that one template may produce before it is refused."""
_DEPTH_MAX = 30
"""The time of a compilation grows with its cube."""
_FILTERS = frozenset(
    "abs capitalize count d default e escape first float int last length lower safe title trim truncate upper".split()
)


class MissingValueError(TemplateError):
    """A text needs a value that the payload does not have."""

    def __init__(self, name: str) -> None:
        super().__init__(f"payload.{name} is missing")
        self.name = name


class _Missing(Undefined):
    """A value that is not there: false where a template asks for it, an error where one says it."""

    def __str__(self) -> str:
        raise MissingValueError(self._undefined_name or "")


@pass_context
def _plural(context: Context, number: object, **forms: str) -> str:
    """`{{ others | plural(one="# other", other="# others") }}`."""
    return plural_text(str(context.get("language")), number, forms)


@pass_context
def _time(context: Context, at: object, form: str = "datetime") -> str:
    """`{{ p.starts_at | time("date") }}`, in the reader's zone."""
    return time_said(str(context.get("language")), at, context.get("zone"), form)


@pass_eval_context
def _replace(within: EvalContext, text: str, old: str, new: str) -> str:
    """A chain of these could make a word of a thousand millions of letters."""
    if len(text) + text.count(old) * len(new) > OUTPUT_MAX:
        raise ValueError
    return do_replace(within, text, old, new)


def _environment(*, html: bool) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        autoescape=html, trim_blocks=True, lstrip_blocks=True, undefined=_Missing
    )
    environment.globals.clear()
    kept = {name: environment.filters[name] for name in _FILTERS}
    environment.filters = {**kept, "plural": _plural, "replace": _replace, "time": _time}
    return environment


_sandbox, _html_sandbox = _environment(html=False), _environment(html=True)
_FORBIDDEN_NODES = (
    nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends, nodes.Macro, nodes.CallBlock, nodes.Block,
    nodes.For, nodes.Call, nodes.Assign, nodes.AssignBlock, nodes.With, nodes.Mul, nodes.Pow, nodes.Mod,
)  # fmt: skip


@lru_cache(maxsize=4096)
def compile_template(source: str, *, html: bool = False) -> Template:
    """A template of ours, checked: nothing that loads, calls, loops or multiplies. In `html` values are escaped.

    :raises TemplateError: it does not parse, or uses what is forbidden.
    """
    try:
        tree = _sandbox.parse(source)
        if _depth(tree) > _DEPTH_MAX:
            raise TemplateError(f"template: nested deeper than {_DEPTH_MAX}")
        if any(True for _ in tree.find_all(_FORBIDDEN_NODES)):
            raise TemplateError("template: imports, macros, blocks, loops, calls, variables, *, ** and % are forbidden")
        return (_html_sandbox if html else _sandbox).from_string(source)
    except (JinjaError, SyntaxError, RecursionError) as error:
        raise TemplateError(f"template does not parse: {error}") from error


def _depth(node: nodes.Node) -> int:
    return 1 + max(map(_depth, node.iter_child_nodes()), default=0)


def run_template(source: str, context: Mapping[str, Any], *, html: bool = False) -> str:
    """The text that `source` gives; in `html` values are escaped.

    :raises TemplateError: it fails, or produces more than OUTPUT_MAX characters.
    """
    if "{" not in source:
        return source
    pieces: list[str] = []
    size = 0
    try:
        template = compile_template(source, html=html)
        # as `template.new_context` makes it, where there are no globals to be merged with the values
        values = Context(template.environment, dict(context), template.name, template.blocks)
        for piece in template.root_render_func(values):
            pieces.append(piece)
            size += len(piece)
            if size > OUTPUT_MAX:
                raise TemplateError(f"template: more than {OUTPUT_MAX} characters")
    except (JinjaError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise TemplateError(f"template does not render: {type(error).__name__}") from error
    return "".join(pieces)


def plurals_used(source: str) -> list[set[str]]:
    """The forms that each plural of a template has."""
    found = _sandbox.parse(source).find_all(nodes.Filter)
    return [{str(each.key) for each in one.kwargs} for one in found if one.name == "plural"]


def times_used(source: str) -> set[str]:
    """The members of the payload that a template shows as times."""
    found = (one.node for one in _sandbox.parse(source).find_all(nodes.Filter) if one.name == "time")
    return {one.attr for one in found if isinstance(one, nodes.Getattr)}


def names_used(source: str) -> tuple[set[str], set[str]]:
    """The names that a template uses, and the members of the payload among them.

    :raises TemplateError: it does not parse, or uses what is forbidden.
    """
    compile_template(source)
    tree = _sandbox.parse(source)
    members = {
        found.attr for found in tree.find_all(nodes.Getattr)
        if isinstance(found.node, nodes.Name) and found.node.name == "p"
    }  # fmt: skip
    return find_undeclared_variables(tree), members
