"""Whatever is written, an evaluation ends within its budget: it answers, or it is refused in words.

Nothing here looks at a clock: the meter counts. tests/integration/test_bombs.py measures that what it counts is enough.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from schemas.workflow import bounds
from schemas.workflow.bounds import MAX_UNITS, Allowance, Budget, TooMuch, bag, table
from schemas.workflow.definition import Condition
from schemas.workflow.templates import Template, TemplateFault
from streams.core.conditions import ConditionFailed, ConditionFault, compile_condition

from .bombs import CONDITION_SCOPE, HEAVY, JMESPATH, OUTPUTS, PRIME, PYTHON, TEMPLATE_SCOPE, TEMPLATES


def evaluate(language: str, source: str) -> Any:
    if language == "template":
        return len(Template(source).render(TEMPLATE_SCOPE, node="n"))
    return compile_condition(Condition.model_validate({"type": language, "expression": source})).holds(CONDITION_SCOPE)


BOMBS = [
    *(("python_expr", each) for each in PYTHON),
    *(("jmespath", each) for each in JMESPATH),
    *(("template", each) for each in TEMPLATES),
]


def test_there_are_enough_of_them() -> None:
    assert len(set(BOMBS)) > 200


@pytest.mark.parametrize(("language", "source"), BOMBS, ids=lambda text: text[:40])
def test_what_would_take_for_ever_is_refused_in_words(language: str, source: str) -> None:
    with pytest.raises((ConditionFailed, ConditionFault, TemplateFault)) as caught:
        evaluate(language, source)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize(("language", "source", "answer"), HEAVY, ids=lambda text: str(text)[:40])
def test_what_is_merely_a_lot_is_answered(language: str, source: str, answer: Any) -> None:
    assert evaluate(language, source) == answer


def units(monkeypatch: pytest.MonkeyPatch, source: str, language: str = "python_expr") -> int:
    """What one evaluation spends."""
    made: list[Budget] = []

    class Watched(Budget):
        __slots__ = ()

        def __init__(self, units: int = MAX_UNITS) -> None:
            super().__init__(MAX_UNITS)
            made.append(self)

    monkeypatch.setattr(bounds, "Budget", Watched)
    evaluate(language, source)
    (only,) = made
    return MAX_UNITS - only.left


@pytest.mark.parametrize(
    ("language", "less", "more", "factor"),
    [
        ("python_expr", "'b' in output.a[:1000]", "'b' in output.a[:100000]", 20),
        ("python_expr", "output.a == output.same", "[output.a] * 9 == [output.same] * 9", 5),
        ("python_expr", "1 in output.ints[-10:]", "1 in output.ints[-10000:]", 50),
        ("python_expr", "[output.rows[0]] == 1", "[output.rows[:900]] == [output.rows[:900]]", 50),
        ("python_expr", "sorted(output.ints[:10])", "sorted(output.ints[:9000])", 900),
        ("python_expr", "set(output.collide[:10])", "set(output.collide[:1000])", 1000),
        ("python_expr", "f'{output.big}'", "f'{output.big}' * 9 + f'{output.big}{output.big}{output.big}{output.big}'", 3),
        ("python_expr", "output.a[:100].rfind('ab')", "output.a[:10000].rfind('a' * 50 + 'b')", 100),
        ("jmespath", "length(to_string(output.rows[:9])) > `1`", "length(to_string(output.rows[:900])) > `1`", 20),
        ("jmespath", "sort(output.texts[:9]) == `1`", "sort(output.texts[:9000]) == `1`", 500),
    ],
)
def test_an_operation_costs_as_much_as_its_operands_are_long(
    monkeypatch: pytest.MonkeyPatch, language: str, less: str, more: str, factor: int
) -> None:
    assert units(monkeypatch, more, language) > factor * units(monkeypatch, less, language)


def test_a_typical_condition_spends_a_thousandth() -> None:
    source = "output.fields.field7 == 7 and 'text number 3' in output.texts[:20] and tier.lower() in ['gold', 'silver']"
    with pytest.MonkeyPatch.context() as patched:
        assert units(patched, source) < MAX_UNITS // 1000


def test_what_was_allowed_together_is_used_up_together() -> None:
    condition = compile_condition(Condition(type="python_expr", expression="len([x for x in range(9000)]) == 9000"))
    allowance = Allowance()
    held = 0
    with pytest.raises(ConditionFailed, match="too many steps"):
        while True:
            assert condition.holds({}, allowance)
            held += 1
    assert 2 < held < 20
    assert condition.holds({}, Allowance())


def test_numbers_that_collide_pay_for_each_other_and_texts_do_not() -> None:
    few, many, texts = Budget(), Budget(), Budget()
    table(few, ((number * PRIME, 1) for number in range(100)))
    table(many, ((number * PRIME, 1) for number in range(1000)))
    table(texts, ((str(number), 1) for number in range(1000)))
    assert MAX_UNITS - many.left > 50 * (MAX_UNITS - few.left)
    assert MAX_UNITS - texts.left < 20_000
    with pytest.raises(TooMuch):
        bag(Budget(), OUTPUTS["collide"])


def test_a_set_keeps_its_order_in_every_process() -> None:
    """Python's own sets go through texts in another order in each process: a replay would decide otherwise."""
    program = (
        "from streams.core.expressions import parse\n"
        "print(parse(\"[list({'a', 'b', 'c', 'd'} | {'e', 'f'}), list({'x', 'y'} ^ {'y', 'z'}), "
        "[k for k in set('qwertz')], ','.join({'k', 'l', 'm'})]\").evaluate({}))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert seen == {"[['a', 'b', 'c', 'd', 'e', 'f'], ['x', 'z'], ['q', 'w', 'e', 'r', 't', 'z'], 'k,l,m']\n"}


def test_depth_is_bounded_by_the_values_and_not_by_the_stack_that_is_left() -> None:
    """A recursion error would come sooner or later with the caller's own depth."""
    deep: Any = []
    for _ in range(bounds.MAX_DEPTH + 1):
        deep = [deep]
    for language in ("python_expr", "jmespath"):
        condition = compile_condition(Condition.model_validate({"type": language, "expression": "a == b"}))
        with pytest.raises(ConditionFailed, match="nested deeper than 100"):
            condition.holds({"a": deep, "b": [deep[0]]})


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 }}" * 3_000,
        "{{ [" + "1, " * 9_000 + "] }}",
        "{% if a %}" * 150 + "{% endif %}" * 150,
        "{{ " + "9" * 4_000 + " }}",
        "{{ f(*a.output) }}",
        "{{ f(**fields.output) }}",
        "{{ a | join(*texts.output) }}",
        "{% autoescape true %}{{ a }}{% endautoescape %}",
    ],
    ids=lambda text: text[:20],
)
def test_what_would_take_long_to_compile_is_refused(source: str) -> None:
    with pytest.raises(TemplateFault):
        Template(source)


def test_json_equality_tells_true_from_one() -> None:
    """Source: JMESPath's specification: values are equal when type and value are, at every depth."""
    scope = {"flags": [True], "one": [{"a": 1}], "x": {"a": {"b": [False]}}}

    def holds(expression: str) -> bool:
        return compile_condition(Condition(type="jmespath", expression=expression)).holds(scope)

    assert not holds("flags == `[1]`")
    assert not holds('one == `[{"a": true}]`')
    assert not holds("contains(flags, `1`)")
    assert not holds('x == `{"a": {"b": [0]}}`')
    assert holds('flags == `[true]` && one == `[{"a": 1.0}]` && contains(flags, `true`) && x.a.b == `[false]`')
