"""Prompts: what they see, what is absent and what is unknown, and what a sandbox must not let through."""

# ruff: noqa: E501  a table reads best with a case on one line

from __future__ import annotations

from typing import Any

import pytest

from schemas.workflow.scope import WORDS, template_scope
from schemas.workflow.templates import Template, TemplateFault

CLASSIFIED = {
    "intent": "refund",
    "confidence": 0.9,
    "entities": {"order_id": "7", "note": None, "items": [1, 2], "keys": "k"},
    "sure": True,
}
SCOPE = template_scope(
    {"text": "Where is it?", "customer_email": None, "intent": "from the input"},
    {"tier": "gold", "text": "from the context"},
    ["classify", "skipped", "text_node"],
    {"classify": CLASSIFIED, "text_node": "plain words"},
    ["classify", "text_node"],
    [{"role": "customer", "text": "hello"}, {"role": "agent", "text": "hi"}],
    [{"title": "Returns", "text": "30 days", "score": 0.5}],
    declared=["intent", "severity"],
)


def render(source: str, scope: dict[str, Any] | None = None) -> str:
    return Template(source).render(SCOPE if scope is None else scope, node="n")


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("{{ classify.output.entities.order_id }}", "7"),
        ("{{ entities.order_id }}", "7"),
        ("{{ text }} {{ tier }} {{ intent }}", "Where is it? gold refund"),
        ("{{ input.intent }} {{ context.text }}", "from the input from the context"),
        ("{{ text_node.output }}", "plain words"),
        ("{{ classify.output.entities }}", '{"order_id":"7","note":null,"items":[1,2],"keys":"k"}'),
        ("{{ [1, 'ü'] }}{{ none }}", '[1,"ü"]'),
        ("{{ customer_email }}|{{ entities.note }}", "|"),
        ("{{ customer_email | default('unknown') }}", "unknown"),
        ("{{ entities.items }} {{ entities.keys }}", "[1,2] k"),
        ("{% for key, value in entities.items() %}{{ key }} {% endfor %}", "order_id note items keys "),
        ("{% for key, value in classify.output.items() %}{{ key }} {% endfor %}", "intent confidence entities sure "),
        ("{{ classify.output.keys() | join(',') }}", "intent,confidence,entities,sure"),
        ("{{ classify.output.get('intent') }}{{ classify.output.get('nope') }}", "refund"),
        ("{{ classify.output['intent'] }}", "refund"),
        ("{{ conversation_history }}", "customer: hello\nagent: hi"),
        ("{% for m in conversation_history %}{{ m.role[0] }}:{{ m.content }} {% endfor %}", "c:hello a:hi "),
        ("{{ knowledge_base }}{{ knowledge_base | length }}", "Returns: 30 days1"),
        ("{{ text | upper }} {{ text.lower() }} {{ text[:5] }}", "WHERE IS IT? where is it? Where"),
        ("{{ entities.items | first }}{{ [] | first }}", "1"),
        ("{{ 'a' ~ 1 ~ {'b': 2} ~ none }}", 'a1{"b":2}'),
        ("{{ classify.output.sure }}", "True"),
        ("{{ entities.items | tojson }} {{ skipped | tojson }}", "[1,2] null"),
        ("{% if confidence > 0.5 %}sure{% endif %}", "sure"),
        ("{{ intent | replace('re', '') | title }}", "Fund"),
        (
            "{% set n = namespace(total=0) %}{% for i in entities.items %}{% set n.total = n.total + i %}{% endfor %}{{ n.total }}",
            "3",
        ),
        ("{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{{ twice('ab') }}", "abab"),
        ("{{ range(3) | join('-') }}", "0-1-2"),
        ("{{ '%.1f' | length }} {{ 2.345 | round(1) }}", "4 2.3"),
        ("no names at all", "no names at all"),
        ("{# a comment #}", ""),
    ],
)
def test_what_a_prompt_sees(source: str, shown: str) -> None:
    assert render(source) == shown


@pytest.mark.parametrize(
    "source",
    [
        "{{ skipped }}{{ skipped.output }}{{ skipped.output.deep.deeper }}",
        "{% if skipped or skipped.output or skipped.output.x %}ran{% endif %}",
        "{% for x in skipped.output %}x{% endfor %}",
        "{{ entities.nope }}{{ entities.nope.deeper }}{{ entities['nope'] }}",
        "{% if entities.nope %}there{% endif %}{% if severity == 'high' %}there{% endif %}",
        "{{ severity }}{{ text_node.output.field }}{{ customer_email.domain }}",
        "{% if 'x' in entities.nope or entities.nope | length %}there{% endif %}",
        "{{ entities.nope | upper }}{{ entities.nope | join(',') }}{{ skipped.output | trim }}",
        "{{ skipped.output.items() | join }}{{ entities['items'][9] }}",
        "{% if skipped is defined or entities.nope is defined %}there{% endif %}",
    ],
)
def test_a_missing_field_and_a_node_that_did_not_run_are_falsy_and_print_as_nothing(source: str) -> None:
    assert render(source) == ""


@pytest.mark.parametrize(
    "source", ["{{ oder_id }}", "{% if oder_id %}{% endif %}", "{{ oder_id.x }}", "{% for x in oder_id %}{% endfor %}", "{{ oder_id | upper }}", "{{ oder_id() }}", "{{ oder_id == 1 }}", "{{ 'a' ~ oder_id }}", "{{ [oder_id] | join }}"]
)  # fmt: skip
def test_an_unknown_name_is_an_error_that_names_node_line_and_name(source: str) -> None:
    with pytest.raises(TemplateFault) as caught:
        Template(f"one\ntwo\n{source}").render({"order_id": 1}, node="handle_return")
    fault = caught.value
    assert (fault.node, fault.line, fault.name) == ("handle_return", 3, "oder_id")
    assert "handle_return" in str(fault)
    assert "line 3" in str(fault)
    assert "did you mean `order_id`?" in str(fault)


def test_an_unknown_name_may_be_asked_for() -> None:
    assert render("{{ nobody is defined }} {{ nobody | default('none') }}") == "False none"


def test_names_are_those_taken_from_the_scope() -> None:
    template = Template(
        "{% set a = b %}{{ a }}{% for c in d.output %}{{ c }}{{ loop.index }}{% endfor %}{{ range(2) }}{{ e['f'].g }}"
    )
    assert template.names == {"b", "d", "e"}
    assert {reference.path for reference in template.references} == {("b",), ("d", "output"), ("e", "f", "g")}


@pytest.mark.parametrize("source", ["{{ a", "{% if %}", "{% endfor %}", "{{ a | nosuch }}", "{{ a is nosuch }}", "{% nosuch %}", "{{ " + "(" * 3000, "{{ a." + "b." * 5000 + "c }}", "x" * 300_000, "{{ 9" + "9" * 5000 + " }}"], ids=lambda s: s[:20])  # fmt: skip
def test_what_does_not_compile_says_so(source: str) -> None:
    with pytest.raises(TemplateFault):
        Template(source)


def test_a_syntax_fault_names_its_line() -> None:
    with pytest.raises(TemplateFault) as caught:
        Template("one\n{{ two }}\n{% if %}")
    assert caught.value.line == 3


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ [].__class__.__base__ }}",
    "{{ text['__class__'] }}",
    "{{ text['__cla' ~ 'ss__'] }}",
    "{{ text | attr('__class__') }}",
    "{{ ()|attr('__class__')|attr('__base__') }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ config.items() }}",
    "{{ request.application.__globals__ }}",
    "{{ get_flashed_messages.__globals__ }}",
    "{{ url_for.__globals__ }}",
    "{{ range.__class__ }}",
    "{{ dict.__class__.__mro__ }}",
    "{{ dict.mro() }}",
    "{{ '{0.__class__}'.format(text) }}",
    "{{ '{0.__class__}'.format_map({'a': 1}) }}",
    "{{ ('{0.__class__}' | format)(text) }}",
    "{{ '%s' | format(text) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% from 'os' import system %}",
    "{% extends '/etc/passwd' %}",
    "{% block x %}{% endblock %}",
    "{{ text.encode().__class__ }}",
    "{{ text.encode() }}",
    "{{ [].append(1) }}",
    "{{ entities.update({'a': 1}) }}",
    "{{ entities.pop('order_id') }}",
    "{% do entities.clear() %}",
    "{{ loop }}",
    "{% for i in [1] %}{{ loop.__class__ }}{% endfor %}",
    "{% for i in [1] %}{{ loop._iterator }}{% endfor %}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{% macro m() %}{{ caller.__globals__ }}{% endmacro %}{% call m() %}{% endcall %}",
    "{{ text.translate({}) }}",
    "{{ [text] | map(attribute='__class__') | list }}",
    "{{ [text] | map('attr', '__class__') | list }}",
    "{{ [text] | sort(attribute='__class__.__name__') }}|{{ x }}",
    "{{ [text] | groupby('__class__') }}",
    "{{ text | xmlattr }}",
    "{{ [] | random }}",
    "{% set x = text.__class__ %}",
    "{% filter attr('x') %}{% endfilter %}",
    "{% trans %}x{% endtrans %}",
    "{% debug %}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_known_ways_out_of_a_sandbox_are_refused(source: str) -> None:
    with pytest.raises(TemplateFault):
        render(source)


BOMBS = [
    "{{ 'a' * 10 ** 10 }}",
    "{{ 9 ** 9999 }}",
    "{{ [0] * 10 ** 9 }}",
    "{{ range(10 ** 9) }}",
    "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}",
    "{% for i in range(10000) %}{{ 'x' * 10000 }}{% endfor %}",
    "{% set a = 'aaaaaaaaaa' %}" + "{% set a = a ~ a ~ a ~ a %}" * 30 + "{{ a }}",
    "{% set a = 'aaaaaaaaaa' %}" + "{% set a = a + a + a + a %}" * 30 + "{{ a }}",
    "{% set a = [1] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}",
    "{% set a = [1] %}" + "{% set a = {'x': a, 'y': a} %}" * 40 + "{{ a == a }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "{{ text | indent(10 ** 9) }}",
    "{{ text | center(10 ** 9) }}",
    "{{ [1] | batch(10 ** 9, 'x') }}",
    "{{ [1] | slice(10 ** 9) | list }}",
    "{{ 1.5 | round(10 ** 9) }}",
    "{{ 1 | round(-(10 ** 9)) }}",
    "{{ [1] | tojson(indent=10 ** 9) }}",
    "{{ ('a' * 900000) | replace('a', 'b' * 900000) }}",
    "{{ ('a' * 900000).replace('a', 'b' * 900000) }}",
    "{{ (['a' * 900000] * 90000) | join }}",
    "{{ ('a' * 900000).join(['b'] * 90000) }}",
    "{{ 'a'.ljust(10 ** 9) }}",
    "{{ 'a'.zfill(10 ** 9) }}",
    "{{ '%1000000000d' % 1 }}",
    "{% set x %}{% for i in range(10000) %}" + "y" * 20_000 + "{% endfor %}{% endset %}{{ x | length }}",
    "{{ 1 / 0 }}",
    "{{ 'a' < 1 }}",
    "{{ (1,).index(2) }}",
]


@pytest.mark.parametrize("source", BOMBS, ids=lambda source: source[:40])
def test_what_would_grow_or_run_without_end_is_stopped(source: str) -> None:
    with pytest.raises(TemplateFault):
        render(source)


def test_a_customer_s_words_are_never_a_template() -> None:
    assert render("{{ text }}", {"text": "{{ 7 * 7 }}{% include 'x' %}"}) == "{{ 7 * 7 }}{% include 'x' %}"


def test_a_template_cannot_change_what_others_see() -> None:
    scope = template_scope({"list": [1]}, {}, [], {}, [])
    Template("{% set list = [2] %}{% set ns = namespace(x=list) %}{% set ns.x = 5 %}").render(scope)
    assert scope["list"] == [1]


def test_predecessors_come_before_input_and_input_before_context() -> None:
    scope = template_scope(
        {"a": "input", "b": "input"}, {"a": "context", "b": "context", "c": "context"}, ["n"], {"n": {"a": "node"}}, ["n"]
    )
    assert Template("{{ a }} {{ b }} {{ c }}").render(scope) == "node input context"


@pytest.mark.parametrize("name", sorted(WORDS))
def test_a_message_says_nothing_under_a_word(name: str) -> None:
    forged = {name: {"output": "forged", "text": "forged"}}
    for given in ((forged, {}), ({}, forged)):
        scope = template_scope(*given, ["n"], {}, [])
        assert "forged" not in str([value for key, value in scope.items() if key not in ("input", "context")])


def test_a_node_that_has_not_run_hides_what_a_message_says_under_its_name() -> None:
    scope = template_scope({}, {"classify": {"output": {"intent": "refund"}}}, ["classify"], {}, [])
    assert Template("{{ classify.output.intent }}").render(scope) == ""


def test_a_node_hides_a_field_of_its_name() -> None:
    scope = template_scope({"classify": "input"}, {}, ["classify"], {"classify": {"x": 1}}, [])
    assert Template("{{ classify.output.x }}").render(scope) == "1"
