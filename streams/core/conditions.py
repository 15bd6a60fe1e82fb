"""When an edge is taken or a node runs: `always`, `jmespath` or `python_expr`, compiled once, asked with a run's values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.workflow.bounds import Allowance
from schemas.workflow.definition import Condition
from streams.core import expressions, jmes

Path = tuple[str, ...]


class ConditionFault(ValueError):
    """The condition does not compile. `remedy` says what to write instead."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} → {remedy}")
        self.message, self.remedy = message, remedy


class ConditionFailed(Exception):
    """The condition could not be decided for this run. The node fails; this is not `false`."""


@dataclass(frozen=True, slots=True)
class CompiledCondition:
    """A condition that is ready to be asked."""

    type: str
    source: str
    paths: frozenset[Path] = frozenset()
    """Names it takes from its scope, each with the constant fields below it."""
    _jmespath: jmes.Query | None = None
    _python: expressions.Expression | None = None

    @property
    def names(self) -> frozenset[str]:
        """The top-level names it takes from its scope."""
        return frozenset(path[0] for path in self.paths)

    def holds(self, scope: Mapping[str, Any], allowance: Allowance | None = None) -> bool:
        """Truth over `scope`: JMESPath's truth (0 is true) for jmespath, Python's for python_expr. Raises ConditionFailed.

        `allowance`: what it may spend together with others.
        """
        try:
            if self._jmespath is not None:
                return self._jmespath.holds(scope, allowance)
            if self._python is not None:
                return bool(self._python.evaluate(scope, allowance))
        except RecursionError:
            raise ConditionFailed(f"{self.type} `{_short(self.source)}`: its values are nested too deeply") from None
        except Exception as error:  # noqa: BLE001  whatever an author's expression raises fails its node, never the processor
            raise ConditionFailed(f"{self.type} `{_short(self.source)}`: {_reason(error)}") from None
        return True


ALWAYS = CompiledCondition("always", "")


def compile_condition(condition: Condition | None) -> CompiledCondition:
    """Raises ConditionFault. No condition always holds."""
    if condition is None or condition.type == "always":
        return ALWAYS
    source = condition.expression.strip()
    if not source:
        raise ConditionFault(f"a {condition.type} condition has no expression", "give it `expression:`, or use `type: always`")
    try:
        if condition.type == "python_expr":
            parsed = expressions.parse(source)
            return CompiledCondition("python_expr", source, parsed.paths, _python=parsed)
        query = jmes.parse(source)
        return CompiledCondition("jmespath", source, query.paths, _jmespath=query)
    except (expressions.ExpressionFault, jmes.QueryFault) as error:
        raise ConditionFault(error.message, error.remedy) from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _short(source: str) -> str:
    return source if len(source) <= 120 else f"{source[:119]}…"
