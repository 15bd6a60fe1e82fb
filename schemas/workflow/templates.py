"""A prompt as its author wrote it, compiled once: which names it needs, and what it says for one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any

from jinja2 import TemplateError, meta, nodes
from jinja2.runtime import Context

from schemas.workflow.bounds import MAX_TEXT, Budget, TooMuch, within_budget
from schemas.workflow.delimiters import tags_of
from schemas.workflow.faults import nearest
from schemas.workflow.sandbox import Sandbox, check, metered
from schemas.workflow.values import BUDGET, TAGS, UnknownName

MAX_SOURCE = 200_000
MAX_TOKENS = 10_000
MAX_REASON = 500
"""Characters of a fault's reason, which may name parts of the data."""
SANDBOX = Sandbox()


class TemplateFault(ValueError):
    """The template does not compile, or cannot be rendered for this run. `line` counts from 1 within the template."""

    def __init__(self, message: str, *, line: int = 1, name: str | None = None, node: str | None = None) -> None:
        where = f"the template of node `{node}`" if node else "the template"
        super().__init__(f"{where}, line {line}: {message}")
        self.message, self.line, self.name, self.node = message, line, name, node


@dataclass(frozen=True, slots=True)
class Reference:
    """`{{ order.output.total }}` reaches for `("order", "output", "total")`."""

    path: tuple[str, ...]
    line: int


class Template:
    """Compile once, render often. Raises TemplateFault when `source` is no template we accept."""

    __slots__ = ("_compiled", "_price", "names", "references", "tags")

    def __init__(self, source: str) -> None:
        if len(source) > MAX_SOURCE:
            raise TemplateFault(f"it is longer than {MAX_SOURCE:,} characters: shorten it")
        try:
            if len(list(islice(SANDBOX.lexer.tokeniter(source, None), MAX_TOKENS + 1))) > MAX_TOKENS:
                raise TemplateFault("it says too much in `{{ }}` and `{% %}`: let a node prepare the data")
            self.tags = tags_of(source)
            """The tags its author wrote, which nothing printed can open or close."""
            tree = SANDBOX.parse(source)
            check(tree, SANDBOX)
            self.names = frozenset(meta.find_undeclared_variables(tree))
            """The top-level names it takes from its scope."""
            self.references = tuple(_references(tree, self.names))
            tree, self._price = metered(tree)
            self._compiled = SANDBOX.from_string(tree)
        except TemplateFault:
            raise
        except TemplateError as error:
            raise TemplateFault(error.message or "it does not compile", line=getattr(error, "lineno", 1) or 1) from None
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError, AssertionError) as error:
            reason = (
                "it is nested too deeply"
                if isinstance(error, (RecursionError, MemoryError))
                else f"it does not compile ({error})"
            )
            raise TemplateFault(f"{reason}: write it simpler") from None

    def render(self, scope: Mapping[str, Any], *, node: str | None = None) -> str:
        """The prompt for one run. An unknown name, or too much of anything, raises TemplateFault."""
        try:
            return within_budget(lambda budget: self._rendered(scope, budget))
        except UnknownName as error:
            known = nearest(error.name, [name for name in scope if not name.startswith(" ")])
            advice = (
                f"did you mean {known}?"
                if known
                else "use an input or context field, a node's id, or a field its predecessors put out"
            )
            line = self._line(error.__traceback__)
            raise TemplateFault(f"{error.message}: {advice}", line=line, name=error.name, node=node) from None
        except Exception as error:  # noqa: BLE001  an author's template may raise anything; it fails the node, never the worker
            reason = "it calls itself too often" if isinstance(error, RecursionError) else str(error) or type(error).__name__
            raise TemplateFault(reason[:MAX_REASON], line=self._line(error.__traceback__), node=node) from None

    def _rendered(self, scope: Mapping[str, Any], budget: Budget) -> str:
        """As `Template.generate` does it, without copying every name through a ChainMap."""
        budget.spend(self._price)
        context = Context(SANDBOX, {**SANDBOX.globals, **scope, BUDGET: budget, TAGS: self.tags}, None, self._compiled.blocks)
        return self._printed(self._compiled.root_render_func(context))

    def _line(self, trace: TracebackType | None) -> int:
        """The template's line: the innermost of its generated code's, traced back."""
        line = 1
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "<template>":
                line = self._compiled.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return line

    @staticmethod
    def _printed(pieces: Iterable[str]) -> str:
        parts: list[str] = []
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > MAX_TEXT:
                raise TooMuch(f"it prints more than {MAX_TEXT:,} characters")
            parts.append(piece)
        return "".join(parts)


def _references(tree: nodes.Node, names: frozenset[str], inside: bool = False) -> Iterator[Reference]:
    path = _path(tree)
    if path and path[0] in names and not inside:
        yield Reference(path, tree.lineno)
    for child in tree.iter_child_nodes():
        yield from _references(child, names, inside=bool(path) and isinstance(tree, (nodes.Getattr, nodes.Getitem)))


def _path(node: nodes.Node) -> tuple[str, ...]:
    """The names from the top down, as far as they are constant."""
    if isinstance(node, nodes.Name):
        return (node.name,) if node.ctx == "load" else ()
    if isinstance(node, nodes.Getattr):
        inner, last = _path(node.node), node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        inner, last = _path(node.node), node.arg.value
    else:
        return ()
    return (*inner, last) if inner else ()
