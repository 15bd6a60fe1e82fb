"""Conditions: what they see, when they hold, when they fail, and what the expression sandbox refuses."""

# ruff: noqa: E501  a table reads best with a case on one line

from __future__ import annotations

from typing import Any

import pytest

from schemas.workflow.definition import Condition
from schemas.workflow.language import quoted_operands
from schemas.workflow.scope import condition_scope
from streams.core.conditions import ConditionFailed, ConditionFault, compile_condition

OUTPUT = {
    "intent": "refund",
    "n": 0,
    "f": 0.9,
    "vip": True,
    "none": None,
    "s": "",
    "items": [{"sku": "a", "price": 5}, {"sku": "b", "price": 12}],
    "empty": [],
    "keys": 3,
}
SCOPE = condition_scope(
    {"text": "hi", "amount": 7}, {"tier": "gold", "amount": 1}, {"classify-1": {"k": 1}, "first": {"done": True}}, output=OUTPUT
)


def holds(type_: str, expression: str, scope: dict[str, Any] | None = None) -> bool:
    return compile_condition(Condition.model_validate({"type": type_, "expression": expression})).holds(
        SCOPE if scope is None else scope
    )


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("output.intent == 'refund'", True), ("output.intent != 'refund'", False), ("output.n", True), ("output.s", False),
        ("output.empty", False), ("output.none", False), ("output.nope", False), ("output.nope.deeper", False), ("output.vip", True),
        ("output.vip == `true`", True), ("!output.vip", False), ("output.n == `0`", True), ("output.f > `0.8` && output.vip", True),
        ("output.nope || tier == 'gold'", True), ("output.items[?price > `10`]", True), ("output.items[?price > `100`]", False),
        ("length(output.items) == `2`", True), ("output.items[0].sku == 'a'", True), ("output.items[9].sku", False),
        ("contains(output.items[*].sku, 'b')", True), ("first.output.done", True), ('"classify-1".output.k == `1`', True),
        ("amount == `7` && context.amount == `1` && input.amount == `7`", True), ("never_ran.output.x", False),
        ("output.n > 'a'", False), ("output.intent > `3`", False), ("sum(output.items[*].price) == `17`", True),
        ("max_by(output.items, &price).sku == 'b'", True), ("starts_with(text, 'h')", True), ("`[]`", False), ("`0`", True), ("`{}`", False),
    ],
)  # fmt: skip
def test_jmespath_is_true_as_its_specification_says(expression: str, expected: bool) -> None:
    assert holds("jmespath", expression) is expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("output.intent == 'refund'", True), ("output['intent'] == 'refund'", True), ("output.n", False), ("output.s or output.vip", True),
        ("0 < output.f < 1", True), ("not output.vip", False), ("output.get('nope') is None", True), ("output.get('nope', 3) == 3", True),
        ("'vip' in output and 'vip' not in context", True), ("output.intent in ['refund', 'return']", True), ("tier.upper() == 'GOLD'", True),
        ("len(output.items) == 2", True), ("output.items[0].price + output['items'][-1].price == 17", True), ("output.keys == 3", True),
        ("any(item.price > 10 for item in output.items)", True), ("all(item.price > 10 for item in output.items)", False),
        ("sum([i.price for i in output.items]) == 17", True), ("sorted(i.price for i in output.items)[0] == 5", True),
        ("{i.sku: i.price for i in output.items}['b'] == 12", True), ("len({i.sku for i in output.items}) == 2", True),
        ("[a * b for a in range(3) for b in range(a) if b] == [2]", True), ("max(output.n, 3) == 3 and min([4, 2]) == 2", True),
        ("first.output.done", True), ("amount == 7 and context.amount == 1 and input.amount == 7", True), ("output.vip == true", True),
        ("output.none is null", True), ("'yes' if output.vip else ''", True), ("f'{output.intent}!' == 'refund!'", True),
        ("isinstance(output.n, int) and not isinstance(output.s, (int, float))", True), ("text[0] == 'h' and text[::-1] == 'ih'", True),
        ("7 // 2 == 3 and 7 % 2 == 1 and 2 ** 10 == 1024 and -output.n == 0", True), ("'-'.join(['a', 'b']) == 'a-b'", True),
        ("round(output.f) == 1 and abs(-2) == 2 and int('5') == 5 and str(5) == '5' and float('1.5') == 1.5 and bool('x')", True),
        ("dict(a=1) == {'a': 1} and list((1, 2)) == [1, 2] and tuple([1]) == (1,) and set([1, 1]) == {1}", True),
        ("[k for k, v in output.items[0].items() if v == 5] == ['price']", True), ("any([]) or all([])", True),
        ("text.startswith('h') and text.strip().replace('h', 'j') == 'ji' and text.split('i') == ['h', '']", True),
        ("[x for x, (y, z) in [(1, (2, 3))] if y + z == 5] == [1]", True), ("output.nope if False else 'b'", True), ("1 or 1 / 0", True),
        ("'''multi\nline''' != ''\n  and output.vip", True), ("list(enumerate(['a'])) == [(0, 'a')] and list(zip([1], [2])) == [(1, 2)]", True),
    ],
)  # fmt: skip
def test_python_means_what_python_means(expression: str, expected: bool) -> None:
    assert holds("python_expr", expression) is expected


def test_a_field_may_be_called_like_a_function() -> None:
    scope = condition_scope({"len": 3, "list": [1], "true": 0}, {}, {})
    assert holds("python_expr", "len == 3 and len(list) == 1 and not true", scope)


@pytest.mark.parametrize("type_", ["jmespath", "python_expr"])
@pytest.mark.parametrize("expression", ["", "  ", "a ==", "(", "a b", "'open", "a = 1", "(" * 3000, "a." * 20_000 + "a", "\x00"])
def test_what_does_not_compile_says_what_to_write(type_: str, expression: str) -> None:
    with pytest.raises(ConditionFault) as caught:
        compile_condition(Condition.model_validate({"type": type_, "expression": expression}))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("type_", "expression", "remedy"),
    [
        ("jmespath", "output.n > 3", "backticks"), ("jmespath", "a and b", "`&&`"), ("jmespath", "lenght(a)", "did you mean `length`?"),
        ("python_expr", "a && b", "`and`"), ("python_expr", "a = 1", "true or false"), ("python_expr", "lenn(a)", "did you mean `len`?"),
        ("python_expr", "a.startwith('b')", "did you mean `startswith`?"), ("python_expr", "lambda: 1", "comprehension"),
    ],
)  # fmt: skip
def test_remedies_fit_the_mistake(type_: str, expression: str, remedy: str) -> None:
    with pytest.raises(ConditionFault) as caught:
        compile_condition(Condition.model_validate({"type": type_, "expression": expression}))
    assert remedy in caught.value.remedy


REFUSED = [
    "().__class__", "().__class__.__bases__[0].__subclasses__()", "''.__class__.__mro__", "output.__class__", "output.__init__.__globals__",
    "__import__('os').system('id')", "__builtins__", "__name__", "[].__len__()", "output.items.__class__", "(1).__class__",
    "eval('1')", "exec('1')", "compile('1', '', 'eval')", "open('/etc/passwd')", "input('x')", "globals()", "locals()", "vars()", "dir()", "getattr(output, 'x')",
    "setattr(output, 'x', 1)", "type(output)", "type('X', (), {})", "object()", "super()", "memoryview(b'')", "bytes(5)", "bytearray(5)", "id(1)", "print(1)",
    "breakpoint()", "help()", "exit()", "map(str, [1])", "filter(None, [1])", "iter([1])", "next(iter([1]))", "hash(1)", "chr(65)", "format(1, '>99')", "repr(1)",
    "lambda: 1", "(lambda: 1)()", "(x := 5)", "[y := 1, y]", "await x", "[x async for x in y]", "(yield)", "(yield from x)", "[*output]", "{**output}", "len(*[1])", "dict(**output)",
    "'{0.__class__}'.format(output)", "'{}'.format_map({})", "f'{output!r}'", "f'{output:>99999999}'", "f'{output.__class__}'", "'%s'.__mod__(1)",
    "(i for i in [1])", "(i for i in [1]).gi_frame", "(i for i in [1]).gi_frame.f_back.f_globals", "[(i for i in [1])]", "output.get((i for i in [1]))",
    "output.update({})", "output.pop('n')", "output.clear()", "output.setdefault('x', 1)", "[].append(1)", "[].sort()", "[].extend([1])", "text.encode()", "text.translate({})", "text.zfill(10 ** 9)", "text.center(10 ** 9)", "text.ljust(10 ** 9)", "text.expandtabs(10 ** 9)",
    "1 << 10 ** 9", "1 >> 1", "~1", "a @ b", "b'bytes'", "1j", "...", "a; b", "import os", "from os import system", "def f(): pass", "class X: pass", "del output", "assert 1", "raise x", "x = 1", "x += 1", "return 1", "pass", "for i in x: pass", "while 1: pass", "with x: pass",
    "sorted([1], key=len)", "max([1], key=str)", "isinstance(1, object)", "isinstance(1)", "isinstance(1, type)", "[i for output.x in [1]]", "[i for i[0] in [1]]", "0x" + "f" * 2000, "output()", "output.intent()", "output['f']()", "(1)(2)", "len.x()",
    "not " * 100 + "1", "-" * 5000 + "1", "[" * 150 + "]" * 150, "a" * 20_000, "1" + " + 1" * 500,
]  # fmt: skip


@pytest.mark.parametrize("expression", REFUSED, ids=lambda text: text[:50])
def test_known_ways_out_of_a_sandbox_do_not_compile(expression: str) -> None:
    with pytest.raises(ConditionFault) as caught:
        compile_condition(Condition(type="python_expr", expression=expression))
    assert caught.value.remedy


FAILING = [
    "output.nope", "output['nope']", "nobody", "nobody.output.x", "output.intent.deeper", "output.none.x", "output.items.price", "1 / 0", "output.n + 'a'", "'a' < 1", "output.items[9]",
    "9 ** 9 ** 9", "2 ** 99999", "'a' * 10 ** 10", "[0] * 10 ** 10", "10 ** 10 * 'a'", "range(10 ** 9)", "[i for i in range(10000) for j in range(10000)]", "sum(i for i in range(10000) for j in range(10000) for k in range(10000))",
    "[[[i for i in range(9999)] for j in range(9999)] for k in range(9999)]", "('a' * 999999).replace('a', 'b' * 999999)", "('a' * 999999).join(['b'] * 99999)", "'%99999999d' % 1", "'%s' % output", "round(1.5, 10 ** 9)", "round(1, -(10 ** 9))",
    "int('9' * 5000)", "int(float('inf'))", "[a for a in [[0] * 1000] for b in [[a for i in range(1000)]] for c in [[b for i in range(1000)]] if c == [c]]", "str([[[0] * 1000 for i in range(1000)] for j in range(9)])",
    "sum([[1], [2]])", "sum(['a', 'b'])", "len(5)", "[x for x in 5]", "[a for a, b in [1]]", "{[]: 1}", "{[1]}", "(-8) ** 0.5", "any(5)", "sorted([1, 'a'])", "max([])", "'a'.join([1])", "float('x')", "output.items.get('a')", "'a' in 5", "range(1, 2, 0)", "dict([1])", "len()", "text.split('')",
]  # fmt: skip


@pytest.mark.parametrize("expression", FAILING, ids=lambda text: text[:50])
def test_what_cannot_be_decided_fails_and_is_not_false(expression: str) -> None:
    condition = compile_condition(Condition(type="python_expr", expression=expression))
    with pytest.raises(ConditionFailed, match="python_expr"):
        condition.holds(SCOPE)


@pytest.mark.parametrize(
    "expression",
    ["contains(output.nope, 'a')", "length(output.n)", "abs('a')", "sum(output.items)", "output.items[::0]", "sort(`[1, \"a\"]`)", "[@, @] | " * 60 + "to_string(@)", "[@, @][] | " * 60 + "length(@)", "{a: @, b: @} | " * 60 + "@ == @"],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_jmespath_that_cannot_be_decided_fails(expression: str) -> None:
    with pytest.raises(ConditionFailed, match="jmespath"):
        holds("jmespath", expression)


def test_deeply_nested_values_fail_and_do_not_crash() -> None:
    deep: Any = []
    other: Any = []
    for _ in range(5000):
        deep, other = [deep], [other]
    scope = condition_scope({"a": deep, "b": other}, {}, {})
    for type_ in ("jmespath", "python_expr"):
        with pytest.raises(ConditionFailed):
            holds(type_, "a == b", scope)


def test_no_condition_always_holds() -> None:
    assert compile_condition(None).holds({})
    assert compile_condition(Condition()).holds({})


@pytest.mark.parametrize(
    ("type_", "expression", "paths"),
    [
        ("jmespath", "a.b.c == 'x' && length(d.e) > `1`", {("a", "b", "c"), ("d", "e")}),
        ("jmespath", "a.b[?c > `1`].d | [0].e", {("a", "b")}),
        ("jmespath", "[a, {x: b.c}]", {("a",), ("b", "c")}),
        ("jmespath", "max_by(a, &b).c || \"d-1\".e", {("a",), ("d-1", "e")}),
        ("python_expr", "a.b['c'] == d and any(x.y for x in e.f if x.z > g)", {("a", "b", "c"), ("d",), ("e", "f"), ("g",)}),
        ("python_expr", "a.get('x') and a.b.lower() == true and isinstance(c, str)", {("a",), ("a", "b"), ("c",)}),
        ("python_expr", "len(a.b[0].c) > 1", {("a", "b")}),
    ],
)  # fmt: skip
def test_paths_are_what_it_takes_from_its_scope(type_: str, expression: str, paths: set[tuple[str, ...]]) -> None:
    condition = compile_condition(Condition.model_validate({"type": type_, "expression": expression}))
    assert condition.paths == paths
    assert condition.names == {path[0] for path in paths}


def test_a_condition_cannot_change_what_it_sees() -> None:
    scope = condition_scope({}, {}, {}, output={"list": [2, 1]})
    assert holds("python_expr", "sorted(output.list) == [1, 2] and [x for x in output.list] and (output.list + [3])", scope)
    assert scope["output"] == {"list": [2, 1]}


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('output.intent == "refund"', ["refund"]),
        ('"a" != b || c > "d e"', ["a", "d e"]),
        ("\"my-node\".output.x == 'x'", []),
        ("output.\"my-field\" == 'x'", []),
        ('output.x == `"refund"`', []),
        ("output.x == '\"refund\"'", []),
        ('"items"[0] == `1` && contains("a", \'b\')', []),
    ],
)
def test_names_in_double_quotes_that_stand_where_a_text_is_meant_are_found(expression: str, names: list[str]) -> None:
    assert quoted_operands(expression) == names
