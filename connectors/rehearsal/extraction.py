"""Finds in a text what a property asks for: order numbers, addresses, amounts, dates. Never makes one up."""

from __future__ import annotations

import re

from connectors.rehearsal.lexicon import bag, words

_ORDER_WORD = (
    r"(?:orders?|ordr|purchase|bestell(?:ung|nummer)?|bestelling|auftrag|commande|pedido|compra|ordine|encomenda|zamówieni[ea]|beställning|"
    r"sipariş|заказ\w*|订单|注文)"
)
_NUMBER_WORD = (
    r"(?:[ \t]*(?:number|num|nummer|numero|número|numéro|id|no|nr|n°|nº|is|was|it's|its|called)\b\.?|[ \t]*[:#：№号-])*"
)
_ORDER_NUMBERS = (
    re.compile(r"\b(?P<id>(?:ORD|PO|SO|INV)[-_]?\d[\w-]*)", re.IGNORECASE),
    re.compile(r"#\s?(?P<id>[A-Za-z]{0,4}-?\d{1,12})(?!\w*[A-Za-z\d])"),
    re.compile(
        rf"{_ORDER_WORD}{_NUMBER_WORD}[ \t]*(?P<id>[A-Z]{{0,4}}-?(?:\d{{3,12}}|\d{{1,2}}(?![ \t]+[^\W\d_]{{2,}}s\b)))"
        r"(?![\dA-Za-z])(?![ \t]*(?:%|€|\$|eur|usd|x|days?|weeks?|tagen?)\b)",
        re.IGNORECASE,
    ),
    re.compile(rf"(?P<id>\d{{3,12}})\s*(?:番|号)?\s*(?:の)?{_ORDER_WORD}", re.IGNORECASE),
)
_BARE_NUMBER = re.compile(
    r"(?<![\d.,$€£:/+-])\b(?P<id>\d{4,8})\b(?![.,:/-]?\d|\s*(?:€|\$|£|%|eur|usd|days?|weeks?|hours?))", re.IGNORECASE
)
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_TRACKING = re.compile(r"\b(?:TRK|1Z|JD|RR|CP)[A-Z0-9]{6,}\b")
_PHONE = re.compile(r"\+\d[\d ()/-]{6,20}\d")
_URL = re.compile(r"https?://[^\s<>\")]+")
_AMOUNT = re.compile(
    r"(?:[€$£]\s?(\d{1,9}(?:[.,]\d{1,2})?)|(?<!\d)(\d{1,9}(?:[.,]\d{1,2})?)\s?"
    r"(?:[€$£]|(?:EUR|USD|GBP|euros?|dollars?|pounds?)\b))",
    re.IGNORECASE,
)
_DATE = re.compile(r"\b(\d{4})-(\d\d)-(\d\d)\b|\b(\d{1,2})\.(\d{1,2})\.(\d{4})\b")
_NAME = re.compile(
    r"\b(?i:my name is|i am called|regards,?|cheers,?|ich heiße|je m'appelle|me llamo)\s+([A-ZÀ-Þ][\w'-]+(?: [A-ZÀ-Þ][\w'-]+)?)"
)
_RETURN_ID = re.compile(r"\bRET-\d+\b")
_QUANTITY = re.compile(r"\b(\d{1,3})\s*(?:x|pieces|items|pairs|units|stück)\b", re.IGNORECASE)
_YEAR = re.compile(r"(?:19|20)\d\d")


def order_numbers(text: str) -> list[str]:
    """Every order number in the text, in its order, without `#`; a lone number of 4-8 digits when nothing better is there."""
    found: dict[str, int] = {}
    for pattern in _ORDER_NUMBERS:
        for match in pattern.finditer(text):
            number = match["id"].strip("-_")
            if any(char.isdigit() for char in number):
                found.setdefault(number.upper(), match.start())
    if found:
        return [number for number in sorted(found, key=found.__getitem__) if not any(number != n and number in n for n in found)]
    bare = [match["id"] for match in _BARE_NUMBER.finditer(_PHONE.sub(" ", text))]
    return list(dict.fromkeys(number for number in bare if not _YEAR.fullmatch(number)))


def value_for(name: str, description: str, text: str) -> str | None:
    """What the text says about the property `name`, or None. `description` helps when the name is vague."""
    told = set(words(name.replace("_", " ").replace("-", " ")))
    found = _by_words(told, text)
    if found is not None or told & _CLEAR:
        return found
    return (
        _by_words(set(words(description)) & _CLEAR, text)
        if len(told) <= 2 and told & {"id", "number", "value", "reference"}
        else None
    )


_CLEAR = bag("order email mail tracking phone url link amount price total date return name quantity")


def _by_words(told: set[str], text: str) -> str | None:
    if "return" in told and told & {"id", "number"}:
        return _first(_RETURN_ID, text)
    if told & {"tracking", "trackingnumber"}:
        return _first(_TRACKING, text)
    if told & {"email", "mail", "recipient"} or "e-mail" in told:
        return _first(EMAIL, text)
    if told & {"order", "orderid", "orders", "ordernumber"} and not told & {"date", "status", "total", "amount", "name", "item"}:
        numbers = order_numbers(text)
        return numbers[0] if numbers else None
    if told & {"phone", "telephone", "mobile"}:
        return _first(_PHONE, text)
    if told & {"url", "link", "website"}:
        return _first(_URL, text)
    if told & {"amount", "price", "total", "cost", "sum"}:
        match = _AMOUNT.search(text)
        return (match.group(1) or match.group(2)).replace(",", ".") if match else None
    if told & {"date", "day"}:
        match = _DATE.search(text)
        if match is None:
            return None
        year, month, day, day2, month2, year2 = match.groups()
        return f"{year}-{month}-{day}" if year else f"{year2}-{int(month2):02}-{int(day2):02}"
    if told & {"quantity", "count"}:
        match = _QUANTITY.search(text)
        return match.group(1) if match else None
    if (
        "name" in told
        and told & {"customer", "user", "person", "first", "last", "full", "name"}
        and not told & {"product", "item"}
    ):
        match = _NAME.search(text)
        return match.group(1) if match else None
    return None


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return match.group(0) if match else None
