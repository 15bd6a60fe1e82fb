"""Order numbers in the ways customers write them, and numbers that are none."""

from __future__ import annotations

import pytest

from connectors.rehearsal.extraction import order_numbers, value_for
from connectors.rehearsal.reading import read


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("where is #1001", ["1001"]),
        ("order 7?", ["7"]),
        ("Order number: 1003", ["1003"]),
        ("order no. 55 and order #66", ["55", "66"]),
        ("my order ORD-88213 please", ["ORD-88213"]),
        ("Bestellung Nr. 1024", ["1024"]),
        ("la commande 5512 n'est pas là", ["5512"]),
        ("pedido número 2045", ["2045"]),
        ("订单1019的包裹", ["1019"]),
        ("can you check 99120 for me", ["99120"]),
        ("its nr 1008", ["1008"]),
        ("I ordered 3 mugs", []),
        ("I want to order 2 shirts", []),
        ("since 2024 I am a customer", []),
        ("I paid 4500 euros", []),
        ("waiting 14 days", []),
        ("in this order:\n\n1. do nothing", []),
        ("call +49 170 1234567", []),
        ("", []),
    ],
)
def test_order_numbers(text: str, found: list[str]) -> None:
    assert order_numbers(text) == found


def test_a_property_is_found_by_its_name() -> None:
    text = "I am Ann. Regards, Ann Lee. Return RET-1003, parcel TRK0001234567, on 3.11.2026 for 12 EUR, 2 pieces"
    names = ("return_id", "tracking_number", "date", "price", "quantity", "customer_name", "favourite_colour")
    assert [value_for(name, "", text) for name in names] == [
        "RET-1003",
        "TRK0001234567",
        "2026-11-03",
        "12",
        "2",
        "Ann Lee",
        None,
    ]


def test_long_texts_without_spaces_cost_little() -> None:
    """No pattern goes back and forth over a text: 200,000 letters, digits, blanks or tags are read at once."""
    import time

    began = time.perf_counter()
    for text in (
        "x" * 200_000,
        "9" * 200_000,
        " " * 200_000,
        "<message>" * 20_000,
        "order " * 30_000,
        "a." * 100_000,
        "+1 " * 60_000,
    ):
        reading = read("", f"<message>{text}</message>")
        for name in ("order_id", "email", "amount", "phone", "name", "date"):
            value_for(name, "", reading.customer)
    assert time.perf_counter() - began < 20


def test_a_line_that_a_customer_speaks_is_theirs_where_nothing_says_so_more_clearly() -> None:
    prompt = "What does the customer want?\n\nCustomer: Where is my parcel, please?\n\nReturn JSON with: intent, entities\n"
    assert read("", prompt).customer == "Where is my parcel, please?"
    assert read("", f"Customer: Ada\n{prompt}<message>It broke.</message>").customer == "It broke."
    assert read("", "Customer: Ada\n\nIt broke after a day").customer == "It broke after a day"
