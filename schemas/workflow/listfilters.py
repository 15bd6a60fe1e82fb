"""The filters of prompts that work on lists and mappings. Each takes the render's context first and pays before it works."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from jinja2.runtime import Context, Undefined

from schemas.workflow import methods
from schemas.workflow.bounds import Bag, Budget, TooMuch, keyed, table
from schemas.workflow.comparing import sorting
from schemas.workflow.probes import probe
from schemas.workflow.values import BUDGET, Absent, reach, text

MAX_PATH = 100
STEP = 30
"""Units for what is done with one item of a list."""


class Group(NamedTuple):
    """What groupby gives."""

    grouper: Any
    list: list[Any]


def items_of(budget: Budget, values: Any) -> list[Any]:
    """A list of what a template may go through. Raises TypeError."""
    if isinstance(values, Undefined):
        return list(values)  # nothing, or an error for an unknown name
    if isinstance(values, (str, list, tuple, Mapping, Bag)):
        return budget.listed(values)
    raise TypeError(f"{methods.kind(values) if values is None or isinstance(values, (int, float)) else 'this'} is not a list")


def _getter(budget: Budget, attribute: Any, *, default: Any = None, fold: bool = False) -> Callable[[Any], Any]:
    """Reads `a.b.0` of an item; texts in small letters with `fold`."""
    if isinstance(attribute, str) and len(attribute) > MAX_PATH:
        raise TooMuch(f"an attribute's path has at most {MAX_PATH} characters")
    path: list[Any] = []
    if isinstance(attribute, str):
        path = [int(part) if part.isdecimal() else part for part in attribute.split(".")]
    elif attribute is not None:
        path = [attribute]

    def get(item: Any) -> Any:
        budget.spend(STEP * (1 + len(path)))
        for part in path:
            item = reach(item, part)
            if default is not None and isinstance(item, Absent):
                item = default
        return methods.call(item, "lower", (), {}, budget) if fold and isinstance(item, str) else item

    return get


def _sort(context: Context, value: Any, reverse: bool = False, case_sensitive: bool = False, attribute: Any = None) -> list[Any]:
    budget: Budget = context[BUDGET]
    listed = items_of(budget, value)
    paths = attribute.split(",") if isinstance(attribute, str) and len(attribute) <= MAX_PATH else [attribute]
    getters = [_getter(budget, path, fold=not case_sensitive) for path in paths]
    return _sorted(budget, [([get(item) for get in getters], item) for item in listed], reverse)


def _sorted(budget: Budget, pairs: list[tuple[Any, Any]], reverse: bool = False) -> list[Any]:
    sorting(budget, [key for key, _ in pairs])
    return [item for _, item in sorted(pairs, key=lambda pair: pair[0], reverse=bool(reverse))]


def _dictsort(context: Context, value: Any, case_sensitive: bool = False, by: str = "key", reverse: bool = False) -> list[Any]:
    budget: Budget = context[BUDGET]
    if by not in ("key", "value"):
        raise ValueError("dictsort() sorts by key or value")
    get = _getter(budget, 0 if by == "key" else 1, fold=not case_sensitive)
    return _sorted(budget, [(get(pair), pair) for pair in _items(context, value)], reverse)


def _items(context: Context, value: Any) -> list[Any]:
    if isinstance(value, Undefined):
        return list(value)
    if not isinstance(value, Mapping):
        raise TypeError(f"{methods.kind(value)} has no items")
    budget: Budget = context[BUDGET]
    return budget.listed(value.items())


def _unique(context: Context, value: Any, case_sensitive: bool = False, attribute: Any = None) -> list[Any]:
    budget: Budget = context[BUDGET]
    read = _getter(budget, attribute, fold=not case_sensitive)

    def get(item: Any) -> Any:
        key = read(item)
        return None if isinstance(key, Absent) else key

    listed = items_of(budget, value)
    found = table(budget, ((get(item), None) for item in listed))
    made: list[Any] = []
    for item in listed:
        key = get(item)
        budget.spend(getattr(found, "odd", 0) + keyed(budget, key))
        if key in found:
            del found[key]
            made.append(item)
    return made


def _groupby(context: Context, value: Any, attribute: Any, default: Any = None, case_sensitive: bool = False) -> list[Any]:
    budget: Budget = context[BUDGET]
    get, fold = _getter(budget, attribute, default=default), _getter(budget, None, fold=not case_sensitive)
    made: list[Group] = []
    last: Any = None
    for item in _sorted(budget, [(fold(get(item)), item) for item in items_of(budget, value)]):
        key = get(item)
        folded = budget.weigh(fold(key))
        if made and folded == last:
            made[-1].list.append(item)
        else:
            budget.spend(STEP)
            made.append(Group(key, [item]))
        last = folded
    return made


def _extreme(choose: Callable[..., Any]) -> Callable[..., Any]:
    def extreme(context: Context, value: Any, case_sensitive: bool = False, attribute: Any = None) -> Any:
        budget: Budget = context[BUDGET]
        get = _getter(budget, attribute, fold=not case_sensitive)
        pairs = [(get(item), item) for item in items_of(budget, value)]
        if not pairs:
            return Absent(obj=value, name="an item of nothing")
        budget.weigh([key for key, _ in pairs])
        return choose(pairs, key=lambda pair: pair[0])[1]

    return extreme


def _sum(context: Context, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    budget: Budget = context[BUDGET]
    get = _getter(budget, attribute)
    numbers = [*(get(item) for item in items_of(budget, value)), start]
    if not all(isinstance(number, (int, float)) for number in numbers):
        raise TypeError("sum() adds numbers only")
    return sum(budget.weigh(numbers))


def _map(context: Context, value: Any, *arguments: Any, **named: Any) -> list[Any]:
    budget: Budget = context[BUDGET]
    if not arguments:
        get = _getter(budget, named.pop("attribute", None), default=named.pop("default", None))
        if named:
            raise TypeError("map() takes an attribute and a default, or the name of a filter")
        return [get(item) for item in items_of(budget, value)]
    name, *rest = arguments
    apply = context.environment.filters.get(name) if isinstance(name, str) and not name.endswith(" ") else None
    if apply is None:
        raise TypeError("map() takes the name of a filter")
    return [apply(context, item, *rest, **named) for item in items_of(budget, value)]


def _chosen(*, wanted: bool, of_attribute: bool) -> Callable[..., list[Any]]:
    def chosen(context: Context, value: Any, *arguments: Any) -> list[Any]:
        budget: Budget = context[BUDGET]
        attribute, *rest = arguments if of_attribute else (None, *arguments)
        get = _getter(budget, attribute)
        name, *rest = rest or ("",)
        made = []
        for item in items_of(budget, value):
            found = get(item)
            if bool(probe(budget, name, found, tuple(rest)) if name else found) is wanted:
                made.append(item)
        return made

    return chosen


def _batch(context: Context, value: Any, linecount: int, fill_with: Any = None) -> list[list[Any]]:
    budget: Budget = context[BUDGET]
    listed = items_of(budget, value)
    if linecount < 1:
        raise ValueError("batch() needs at least 1 item a line")
    budget.spend(STEP * (1 + len(listed) // linecount))
    made = [listed[start : start + linecount] for start in range(0, len(listed), linecount)]
    if made and fill_with is not None:
        budget.collected(linecount)
        made[-1] += [fill_with] * (linecount - len(made[-1]))
    return made


def _slice(context: Context, value: Any, slices: int, fill_with: Any = None) -> list[list[Any]]:
    budget: Budget = context[BUDGET]
    listed = items_of(budget, value)
    if slices < 1:
        raise ValueError("slice() needs at least 1 part")
    budget.spend(STEP * slices)
    each, more = divmod(len(listed), slices)
    made, at = [], 0
    for number in range(slices):
        size = each + (number < more)
        made.append(listed[at : at + size] + ([fill_with] if fill_with is not None and number >= more else []))
        at += size
    return made


def _join(context: Context, value: Any, d: Any = "", attribute: Any = None) -> str:
    budget: Budget = context[BUDGET]
    get = _getter(budget, attribute)
    return methods.joined(budget, text(d, budget), [text(get(item), budget) for item in items_of(budget, value)])


def _reverse(context: Context, value: Any) -> Any:
    budget: Budget = context[BUDGET]
    if isinstance(value, str):
        budget.written(len(value))
        return value[::-1]
    return items_of(budget, value)[::-1]


def _length(context: Context, value: Any) -> int:
    if isinstance(value, (str, list, tuple, Mapping, Bag, Undefined)):
        return len(value)
    raise TypeError(f"{methods.kind(value)} has no length")


def _first(context: Context, value: Any) -> Any:
    return _end(context, value, 0, "first")


def _last(context: Context, value: Any) -> Any:
    return _end(context, value, -1, "last")


def _end(context: Context, value: Any, index: int, name: str) -> Any:
    values: Any = value if isinstance(value, (str, list, tuple)) else items_of(context[BUDGET], value)
    return values[index] if values else Absent(obj=value, name=name)


def _list(context: Context, value: Iterable[Any]) -> list[Any]:
    return items_of(context[BUDGET], value)


OF_LIST: Mapping[str, Callable[..., Any]] = {
    "sort": _sort,
    "dictsort": _dictsort,
    "items": _items,
    "unique": _unique,
    "groupby": _groupby,
    "min": _extreme(min),
    "max": _extreme(max),
    "sum": _sum,
    "map": _map,
    "select": _chosen(wanted=True, of_attribute=False),
    "reject": _chosen(wanted=False, of_attribute=False),
    "selectattr": _chosen(wanted=True, of_attribute=True),
    "rejectattr": _chosen(wanted=False, of_attribute=True),
    "batch": _batch,
    "slice": _slice,
    "join": _join,
    "reverse": _reverse,
    "length": _length,
    "count": _length,
    "first": _first,
    "last": _last,
    "list": _list,
}
