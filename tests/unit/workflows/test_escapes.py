"""Ways out of a sandbox, of templates and of expressions, beside those that stand with what each language means."""

from __future__ import annotations

import pytest

from schemas.workflow.definition import Condition
from schemas.workflow.scope import condition_scope, template_scope
from schemas.workflow.templates import Template, TemplateFault
from streams.core.conditions import ConditionFailed, ConditionFault, compile_condition

OUTPUT = {"intent": "refund", "list": [1, 2], "map": {"k": "v"}, "n": 1.5}
TEMPLATES = template_scope({"text": "hi"}, {}, ["n", "gone"], {"n": OUTPUT}, ["n"], [{"role": "customer", "text": "x"}])
CONDITIONS = condition_scope({"text": "hi"}, {}, {"n": OUTPUT}, output=OUTPUT)

TEMPLATE_ESCAPES = [
    "{{ (gone).__class__ }}",
    "{{ gone.output.x.__class__ }}",
    "{{ gone['_undefined_obj'].__init__ }}",
    "{{ text['_' ~ '_class_' ~ '_'] }}",
    "{{ text[['__class__'][0]] }}",
    "{{ text['__' ~ 'class' ~ '__']['__' ~ 'mro__'] }}",
    "{{ list['__class__'] }}",
    "{{ n.output.n['__class__'] }}",
    "{{ none.__class__ }}{{ none['__class__'].__mro__ }}",
    "{{ true['__class__'] }}",
    "{{ [text, list] | map(attribute='__class__.__base__') | list }}",
    "{{ [text] | map(attribute=['__class__']) | list }}{{ [[text]] | map(attribute='0.__class__') | list }}",
    "{{ [text] | selectattr('__class__') | list }}",
    "{{ [text] | rejectattr('__doc__', 'defined') | list }}",
    "{{ [text] | min(attribute='__class__') }}",
    "{{ [text] | max(attribute='__class__') }}",
    "{{ [text] | unique(attribute='__class__') | list }}",
    "{{ [text] | sum(attribute='__class__') }}",
    "{{ [text] | join(attribute='__class__') }}",
    "{{ [text] | map('__class__') | list }}",
    "{{ [1] | map('spend ', 2) | list }}",
    "{{ [1] | map('method ', '__class__') | list }}",
    "{{ [text] | select('__class__') | list }}",
    "{{ self }}",
    "{{ self._TemplateReference__context.environment }}",
    "{{ cycler }}{{ joiner }}{{ namespace }}",
    "{{ cycler(1).__init__.__globals__ }}",
    "{{ cycler(1)['__class__'] }}",
    "{{ cycler(1).items }}{{ cycler(1).pos.__class__ }}",
    "{{ joiner().__call__.__globals__ }}",
    "{{ joiner().sep.__class__ }}",
    "{{ namespace(x=1)['__class__'] }}",
    "{{ namespace(x=1).__class__ }}",
    "{{ namespace(__class__=1) }}",
    "{{ namespace(x=1)._Namespace__attrs }}",
    "{{ range.__self__ }}{{ range }}",
    "{{ dict.fromkeys }}{{ dict.__subclasses__() }}",
    "{% macro m() %}{% endmacro %}{{ m._environment }}",
    "{% macro m() %}{% endmacro %}{{ m['_func'] }}",
    "{% macro m() %}{% endmacro %}{{ m.__call__.__func__ }}",
    "{% macro m() %}{% endmacro %}{{ m }}",
    "{% macro m() %}{{ varargs.__class__ }}{% endmacro %}{{ m(1) }}",
    "{% macro m() %}{{ kwargs.clear() }}{% endmacro %}{{ m(a=1) }}",
    "{% macro m() %}{{ caller._func }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% for i in [1] recursive %}{{ loop._recurse }}{% endfor %}",
    "{% for i in [1] %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "{% for i in [1] %}{{ loop._undefined }}{{ loop['_iterable'] }}{% endfor %}",
    "{% for i in [1] %}{{ loop.changed.__self__ }}{% endfor %}",
    "{% for i in [1] %}{{ loop.cycle.__func__ }}{% endfor %}",
    "{% for i in loop %}{% endfor %}",
    "{% for i in [1] %}{% for j in loop %}{% endfor %}{% endfor %}",
    "{{ text.upper.__self__ }}",
    "{{ text.join.__class__ }}",
    "{{ text.format(1) }}{{ text.format_map({}) }}",
    "{{ '{.__class__}'['format'](text) }}",
    "{{ text.encode }}{{ text.maketrans() }}",
    "{{ list.sort() }}",
    "{{ list.extend([1]) }}",
    "{{ map.popitem() }}{{ n.output.map.popitem() }}",
    "{{ n.output.map.setdefault('x', 1) }}",
    "{{ n.output.map.__getitem__('k') }}",
    "{{ n.output.n.hex() }}{{ n.output.n.as_integer_ratio() }}",
    "{{ conversation_history.shown.__class__ }}",
    "{{ conversation_history.append(1) }}",
    "{{ text is callable }}{{ text is filter }}",
    "{{ 'upper' is filter }}",
    "{{ text | pprint }}{{ text | forceescape }}",
    "{{ text | urlize }}",
    "{{ [1] | async }}{{ text | getattr('x') }}",
    "{{ environment }}",
    "{{ context.environment.call }}{{ context.environment.call() }}{{ __context__ }}",
    "{{ undefined('x') }}",
    "{{ missing.__class__ }}",
    "{{ l_0_text.__class__ }}",
    "{{ resolve('text') }}",
    "{{ ' budget' | attr('left') }}",
    "{% set text.__class__ = 1 %}",
    "{% set loop = 1 %}{% for loop in [1] %}{% endfor %}",
    "{% set n.output = 1 %}",
]

EXPRESSION_ESCAPES = [
    "[x for x in [output]][0].__class__",
    "[c for c in [''.join]]",
    "text.upper",
    "text.join.__self__",
    "output.list.copy",
    "output.list.append",
    "output.map.keys",
    "output['__class__']",
    "text['__class__']",
    "output.map['__init__']",
    "(lambda x: x)(1)",
    "[f for f in [len]]",
    "len",
    "[len][0]([1])",
    "str.join('', ['a'])",
    "dict.fromkeys([1])",
    "int.from_bytes([1])",
    "f'{output.__class__}'",
    "f'{text!r:>10}'",
    "f'{text:{text}}'",
    "'{}'.format(text)",
    "text.format_map(output)",
    "text.__format__('x')",
    "text.__mod__(1)",
    "text.encode('rot13')",
    "output.list.sort()",
    "output.n.hex()",
    "output.n.as_integer_ratio()",
    "(1).to_bytes(1)",
    "{1}.add(2)",
    "{1}.pop()",
    "set([1]).__init__",
    "(x for x in [1]).throw",
    "[x async for x in [1]]",
    "[y := 1]",
    "any((yield) for x in [1])",
    "print(1)",
    "sorted([1], **{'key': 1})",
    "min(1, default=len)",
    "max([[1]], key=sum)",
    "budget",
    "_Evaluation",
    "self.budget",
    "FUNCTIONS",
    "__debug__",
    "text.__getattribute__('x')",
    "isinstance(text, str.__class__)",
    "isinstance(text, (str, object))",
    "output.list.__iter__()",
    "[*range(3)]",
    "print",
]


@pytest.mark.parametrize("source", TEMPLATE_ESCAPES)
def test_a_template_reaches_nothing_but_its_data(source: str) -> None:
    with pytest.raises(TemplateFault) as caught:
        shown = Template(source).render(TEMPLATES, node="n")
        raise AssertionError(f"it printed {shown!r}")
    assert "0x" not in str(caught.value)


@pytest.mark.parametrize("source", EXPRESSION_ESCAPES)
def test_an_expression_reaches_nothing_but_its_data(source: str) -> None:
    with pytest.raises((ConditionFault, ConditionFailed)):
        compile_condition(Condition(type="python_expr", expression=source)).holds(CONDITIONS)


def test_there_are_enough_of_them() -> None:
    assert len({*TEMPLATE_ESCAPES, *EXPRESSION_ESCAPES}) > 100
