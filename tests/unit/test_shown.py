"""Text of strangers does nothing to a terminal or a log, and addresses are shown without their passwords."""

from __future__ import annotations

import json
import logging
import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.shown import masked, visible, without_credentials
from streams.app.logs import CarefulFormatter, careful

ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")


@given(st.text(alphabet=st.characters()))
def test_nothing_that_acts_is_left(text: str):
    for lines in (False, True):
        shown = visible(text, lines=lines)
        assert not ACTS.search(shown)
        shown.encode()  # what a terminal can be sent
    assert "\n" not in visible(text)


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_stays_the_same_json(value: object):
    assert json.loads(visible(json.dumps(value, ensure_ascii=False))) == value
    assert json.loads(visible(json.dumps(value, ensure_ascii=False, indent=2), lines=True)) == value


@pytest.mark.parametrize(
    "text", ["für 25 €", "注文はどこですか", "مرحبا بالعالم", "שלום", "नमस्ते", "👩‍👩‍👧 🇫🇷", "a\tb", "e\u0301"]
)
def test_what_people_write_stays_as_it_is(text: str):
    assert visible(text) == text


def test_every_control_and_every_hidden_direction_of_unicode_is_shown():
    """Whatever a later version of Unicode adds to these kinds is missed here first."""
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        acts = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(character) in turning
        assert not acts or character in "\t" or visible(character) != character, hex(code)


PASSWORD = "s3cr3t!pw"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://hil:{PASSWORD}@db:5432/hil",
        f"postgres://hil:{PASSWORD}@/hil?host=/run/postgres",
        f"cannot connect to 'postgresql://hil:{PASSWORD}@db/hil': refused",
        f"postgresql://hil:{PASSWORD}@x/y@db:5432/hil",
        f"postgresql://hil:a@{PASSWORD}@db/hil",
        f"postgresql://db/hil?user=hil&password={PASSWORD}",
        f"host=db user=hil password={PASSWORD} dbname=hil",
        f"https://me:{PASSWORD}@proxy.example/v1/chat/completions",
        f"HTTPS://:{PASSWORD}@proxy.example",
        f"https://proxy.example/v1?key={PASSWORD}",
        f"https://proxy.example/v1?a=b&api_key={PASSWORD}&c=d",
        f"https://proxy.example/v1?api-key={PASSWORD}",
        f"https://proxy.example/v1?token={PASSWORD}#x",
        f"https://x.example/?sig={PASSWORD}",
        f"no broker answers at hil:{PASSWORD}@kafka:9092",
        f"hil:{PASSWORD}@kafka-1:9092,hil:{PASSWORD}@kafka-2:9092",
        f"hil:{PASSWORD}@[::1]:9092",
        "Authorization: Bearer sk-s3cr3t!pw".replace("!", "-"),
    ],
)
def test_no_password_is_said(text: str):
    assert PASSWORD not in masked(text)
    assert "s3cr3t" not in masked(text)
    assert masked(masked(text)) == masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://127.0.0.1:5432/hil",
        "http://127.0.0.1:8080/v1",
        "write to ann@shop.example about it: today",
        "127.0.0.1:9092,127.0.0.2:9092",
        "customer_support_advanced@2.0.0",
        "nodes of customer.messages-3@17: 12",
        "a key=value pair",
        "",
    ],
)
def test_what_holds_no_password_stays_as_it_is(text: str):
    assert masked(text) == text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://hil:{PASSWORD}@db:5432/hil", "postgresql://db:5432/hil"),
        (f"https://{PASSWORD}@proxy.example/v1", "https://proxy.example/v1"),
        (f"https://proxy.example/v1?key={PASSWORD}", "https://proxy.example/v1"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
    ],
)
def test_an_address_for_programs_has_no_credentials(url: str, shown: str):
    assert without_credentials(url) == shown


def test_one_entry_of_a_log_begins_one_line():
    """A customer cannot write a line that looks like ours, not even by way of a traceback."""
    forged = "2026-01-01 00:00:00,000 WARNING streams: all is well"
    try:
        raise ValueError(f"x\n{forged}\r\n\x1b[2J\u2028{forged} postgresql://hil:{PASSWORD}@db/hil")
    except ValueError:
        record = logging.LogRecord(
            "streams", logging.WARNING, "", 1, "got %s\n%s", (f"\x1b]0;owned\x07\n{forged}", forged), sys.exc_info()
        )
    said = CarefulFormatter("%(levelname)s %(name)s: %(message)s").format(record)
    assert [line for line in said.splitlines() if not line.startswith("  ")] == said.splitlines()[:1]
    assert forged in said
    assert not ACTS.search(said)
    assert PASSWORD not in said


def test_an_unexpected_error_is_written_as_carefully(capsys: pytest.CaptureFixture[str]):
    from streams.app import logs

    try:
        raise RuntimeError(f"\x1b[31m https://me:{PASSWORD}@proxy.example\nerror: forged")
    except RuntimeError as error:
        logs.unexpected(type(error), error, error.__traceback__)
    said = capsys.readouterr().err
    assert "RuntimeError" in said
    assert PASSWORD not in said
    assert not ACTS.search(said)
    assert "\nerror: forged" not in said
    assert careful("a\nb") == "a\n  b"
