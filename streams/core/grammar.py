"""Which Python an author may write in a `python_expr`. All else is refused before it could run, with what to write instead."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping

from schemas.workflow import methods
from schemas.workflow.bounds import MAX_BITS
from schemas.workflow.faults import did_you_mean
from streams.core.functions import FUNCTIONS, TYPES

MAX_SOURCE = 10_000
MAX_DEPTH = 60


class ExpressionFault(ValueError):
    """The expression is not one we run. `remedy` says what to write instead."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


ALLOWED = (
    *(ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.Slice, ast.Call, ast.keyword),
    *(ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Compare, ast.IfExp),
    *(ast.List, ast.Tuple, ast.Set, ast.Dict, ast.JoinedStr, ast.FormattedValue),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension),
    *(ast.And, ast.Or, ast.Not, ast.USub, ast.UAdd, ast.cmpop, ast.expr_context),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.BitOr, ast.BitAnd, ast.BitXor),
)
REMEDIES: Mapping[type[ast.AST], tuple[str, str]] = {
    ast.Lambda: ("a lambda", "write the comparison out, or use a comprehension"),
    ast.NamedExpr: ("an assignment (`:=`)", "write the value twice"),
    ast.Await: ("`await`", "conditions see finished values only: remove it"),
    ast.Yield: ("`yield`", "use a comprehension"),
    ast.YieldFrom: ("`yield`", "use a comprehension"),
    ast.Starred: ("`*`", "name the values one by one"),
    ast.LShift: ("`<<`", "multiply instead"),
    ast.RShift: ("`>>`", "divide instead"),
    ast.Invert: ("`~`", "use `not`"),
    ast.MatMult: ("`@`", "use `*`"),
}


def checked(source: str) -> ast.expr:
    """The syntax tree of an expression that is allowed. Raises ExpressionFault."""
    if len(source) > MAX_SOURCE:
        raise ExpressionFault(
            f"the expression is longer than {MAX_SOURCE:,} characters", "let a node compute it and test its output"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's advice about style is not ours to give
            tree = ast.parse(" ".join(source.split("\n")).strip(), mode="eval").body
    except SyntaxError as error:
        raise ExpressionFault(f"this is no Python expression: {error.msg}", _advice(source)) from None
    except (RecursionError, MemoryError, ValueError, SystemError) as error:  # CPython 3.11 says SystemError near its depth limit
        reason = "it is nested too deeply" if not isinstance(error, ValueError) else str(error)
        raise ExpressionFault(f"this is no Python expression: {reason}", "write it simpler") from None
    _Check().visit(tree, 0)
    return tree


def _advice(source: str) -> str:
    if "&&" in source or "||" in source:
        return "write `and` and `or` instead of `&&` and `||`"
    if "===" in source:
        return "write `==`"
    if "import " in source or "=" in source.replace("==", "").replace("<=", "").replace(">=", "").replace("!=", ""):
        return "write one expression that is true or false, e.g. output.confidence > 0.8"
    return "e.g. output.confidence > 0.8 and 'vip' in context"


class _Check:
    """Walks the tree once. Depth is bounded here, so nothing later needs to."""

    def visit(self, node: ast.AST, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ExpressionFault("the expression is nested too deeply", "write it simpler")
        if not isinstance(node, ALLOWED):
            what, remedy = REMEDIES.get(type(node), (f"`{type(node).__name__}`", "write a comparison of the run's values"))
            raise ExpressionFault(f"{what} is not allowed in a condition", remedy)
        match node:
            case ast.Call():
                return self.call(node, depth)
            case ast.Attribute(attr=name) | ast.Name(id=name):
                self.name(name)
                if isinstance(node, ast.Name) and node.id in FUNCTIONS and isinstance(node.ctx, ast.Load):
                    pass  # a field may be called `len` or `list`: the scope decides when it is evaluated
            case ast.Constant(value=value):
                if isinstance(value, (bytes, complex)) or value is Ellipsis:
                    raise ExpressionFault(f"{ast.unparse(node)} is no value of a run", "use text, numbers, true, false or null")
                if isinstance(value, int) and value.bit_length() > MAX_BITS:
                    raise ExpressionFault("a number is too large", "write a smaller one")
            case ast.FormattedValue():
                if node.format_spec is not None or node.conversion != -1:
                    raise ExpressionFault("an f-string may not format its values", "write `{value}` without `:` or `!`")
            case ast.comprehension(is_async=1):
                raise ExpressionFault("`async for` is not allowed in a condition", "write `for`")
            case ast.comprehension(target=target):
                if not all(isinstance(part, (ast.Name, ast.Tuple, ast.List, ast.expr_context)) for part in ast.walk(target)):
                    raise ExpressionFault(f"`for {ast.unparse(target)}` binds no name", "write `for item in …`")
            case ast.Dict() if None in node.keys:
                raise ExpressionFault("`**` is not allowed in a condition", "name the values one by one")
            case ast.GeneratorExp():
                raise ExpressionFault("a generator stands alone", "hand it to any(), all() or sum(), or write a list: […]")
        self.children(node, depth)
        return None

    def children(self, node: ast.AST, depth: int) -> None:
        for child in ast.iter_child_nodes(node):
            self.visit(child, depth + 1)

    def name(self, name: str) -> None:
        if name.startswith("__"):
            raise ExpressionFault(f"`{name}` is out of reach of a condition", "use the fields of the run's values")

    def call(self, node: ast.Call, depth: int) -> None:
        if isinstance(node.func, ast.Name):
            name = node.func.id
            self.name(name)
            if name not in FUNCTIONS and name != "isinstance":
                raise ExpressionFault(f"there is no function {name}()", _function_remedy(name))
            if name == "isinstance":
                return self.isinstance_(node, depth)
        elif isinstance(node.func, ast.Attribute):
            self.name(node.func.attr)
            if node.func.attr not in methods.ALL:
                otherwise = "compare fields, or use methods such as lower(), startswith(), get()"
                raise ExpressionFault(
                    f"there is no method {node.func.attr}()",
                    did_you_mean(node.func.attr, sorted(methods.ALL), otherwise=otherwise),
                )
            self.visit(node.func.value, depth + 1)
        else:
            raise ExpressionFault(f"`{ast.unparse(node.func)}` cannot be called", "call a function by its name")
        for argument in node.args:
            if isinstance(argument, ast.GeneratorExp):
                if not isinstance(node.func, ast.Name) and node.func.attr != "join":
                    raise ExpressionFault("a generator is handed to a method", "write a list: […]")
                self.children(argument, depth + 1)
            else:
                self.visit(argument, depth + 1)
        for keyword in node.keywords:
            if keyword.arg is None:
                raise ExpressionFault("`**` is not allowed in a condition", "name the arguments one by one")
            if keyword.arg == "key":
                raise ExpressionFault(
                    "`key=` takes a function, which conditions do not have", "sort or compare the values themselves"
                )
            self.visit(keyword.value, depth + 1)
        return None

    def isinstance_(self, node: ast.Call, depth: int) -> None:
        kinds = [] if len(node.args) != 2 else node.args[1].elts if isinstance(node.args[1], ast.Tuple) else [node.args[1]]
        if not kinds or node.keywords or not all(isinstance(kind, ast.Name) and kind.id in TYPES for kind in kinds):
            raise ExpressionFault("isinstance() takes a value and a type", f"use one of {', '.join(TYPES)} as type")
        self.visit(node.args[0], depth + 1)


def _function_remedy(name: str) -> str:
    return did_you_mean(name, sorted(FUNCTIONS), otherwise=f"use one of {', '.join(sorted(FUNCTIONS))}")
