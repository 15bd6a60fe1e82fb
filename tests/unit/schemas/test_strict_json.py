"""What strangers call JSON: accepted as RFC 8259 says, refused in words otherwise. Cases after the public JSON test suites."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import CODES, Undecodable, decode_inbound
from schemas.codec.strict_json import LARGEST, MAX_DEPTH, MAX_VALUES, SMALLEST, parse

STEADY = settings(deadline=None, derandomize=True)
"""The same cases each time, however slow the machine."""
REFUSED: dict[str, bytes] = {
    "array: comma first": b"[,1]",
    "array: two commas": b"[1,,2]",
    "array: trailing comma": b"[1,]",
    "array: only a comma": b"[,]",
    "array: unclosed": b'[""',
    "array: closed twice": b"[1]]",
    "array: colon": b'["": 1]',
    "array: inner array without comma": b"[3[4]]",
    "array: items without comma": b"[1 true]",
    "array: star inside": b"[*]",
    "array: newlines, unclosed": b'["a",\n4\n,1,',
    "object: bare key": b'{a: "b"}',
    "object: single quotes": b"{'a':0}",
    "object: number as key": b"{1:1}",
    "object: no colon": b'{"a" "b"}',
    "object: two colons": b'{"x"::"b"}',
    "object: missing value": b'{"a":',
    "object: missing key": b'{:"b"}',
    "object: trailing comma": b'{"id":0,}',
    "object: several trailing commas": b'{"id":0,,,,,}',
    "object: comment": b'{"a":"b"}/**/',
    "object: line comment": b'{"a":"b"}//',
    "object: hash comment": b'{"a":"b"}#',
    "object: comma instead of colon": b'{"x", null}',
    "object: trailing text": b'{"a":true} "x"',
    "object: followed by a brace": b'{"a":"b"}}',
    "object: unterminated value": b'{"a":"a',
    "object: key without value": b'{"foo":"bar", "a"}',
    "object: bad escape in key": b'{"\\x":1}',
    "number: plus sign": b"[+1]",
    "number: leading zero": b"[012]",
    "number: negative leading zero": b"[-012]",
    "number: leading dot": b"[.5]",
    "number: trailing dot": b"[1.]",
    "number: minus only": b"[-]",
    "number: two minuses": b"[--2]",
    "number: exponent without digits": b"[1e]",
    "number: exponent with sign only": b"[1e+]",
    "number: dot then exponent": b"[2.e3]",
    "number: hexadecimal": b"[0x42]",
    "number: capital E without digits": b"[0E]",
    "number: Infinity": b"[Infinity]",
    "number: -Infinity": b"[-Infinity]",
    "number: NaN": b"[NaN]",
    "number: -NaN": b"[-NaN]",
    "number: inf": b"[inf]",
    "number: nan": b"[nan]",
    "number: underscore": b"[1_000]",
    "number: thousands": b"[1 000.0]",
    "number: with letters": b"[1.2a-3]",
    "number: full-width digit": "[１]".encode(),
    "number: arabic digits": "[١٢]".encode(),
    "number: expression": b"[1+2]",
    "string: raw tab": b'["\t"]',
    "string: raw newline": b'["new\nline"]',
    "string: raw NUL": b'["a\x00a"]',
    "string: escaped x": b'["\\x00"]',
    "string: escaped tab character": b'["\\\t"]',
    "string: escaped emoji": '["\\🌀"]'.encode(),
    "string: escaped NUL character": b'["\\\x00"]',
    "string: short unicode escape": b'["\\u00A"]',
    "string: unicode escape with letters": b'["\\uqqqq"]',
    "string: capital U": b'["\\UA66D"]',
    "string: backslash at the end": b'["\\"]',
    "string: unescaped quote": b'"asd',
    "string: single quotes": b"['single quote']",
    "string: no quotes": b"[abc]",
    "string: surrogate then half an escape": b'["\\uD834\\uDd"]',
    "string: surrogate then a cut escape": b'["\\uD800\\u"]',
    "literal: truncated": b"[tru]",
    "literal: capital": b"[True]",
    "literal: None": b"[None]",
    "literal: undefined": b"[undefined]",
    "structure: nothing but spaces": b"   ",
    "structure: angle brackets": b"<.>",
    "structure: null in brackets": b"[<null>]",
    "structure: open brace and comma": b"{,",
    "structure: object, then array": b"{}[]",
    "structure: array with text after": b"[1]x",
    "structure: end of file after comma": b'{"a":1,',
    "structure: form feed": b"[\x0c]",
    "structure: no-break space": b"[\xc2\xa0]",
    "structure: word joiner": b"[\xe2\x81\xa0]",
    "structure: two values": b"1 2",
    "structure: UTF-8 mark twice": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    "structure: half a mark": b"\xef\xbb{}",
    "structure: YAML": b"text: hello",
    "structure: NUL": b"{}\x00",
    "structure: concatenated lines": b'{"a":1}\n{"a":2}',
    "bytes: a lone continuation byte": b'["\x80"]',
    "bytes: 0xFF": b"[\xff]",
    "bytes: overlong slash": b'["\xc0\xaf"]',
    "bytes: surrogate in UTF-8": b'["\xed\xa0\x80"]',
    "bytes: beyond U+10FFFF": b'["\xf4\x90\x80\x80"]',
    "bytes: cut character": b'["\xe2\x82"]',
    "bytes: latin-1": '["é"]'.encode("latin-1"),
    "bytes: UTF-16 with mark": '["é"]'.encode("utf-16"),
    "bytes: UTF-16 without mark": '{"a":"é"}'.encode("utf-16-le"),
    "key twice": b'{"a":1,"a":1}',
    "key twice, deep inside": b'{"a":[{"b":{"c":1,"\\u0063":2}}]}',
    "surrogate: high alone": b'["\\ud800"]',
    "surrogate: low alone": b'["\\uDC00abc"]',
    "surrogate: the wrong way round": b'["\\uDd1e\\uD834"]',
    "surrogate: two highs": b'["\\uD800\\uD800\\n"]',
    "surrogate: in a key": b'{"\\uDFAA":0}',
    "huge: exponent": b"[1e400]",
    "huge: negative exponent number": b"[-1e+9999]",
    "huge: integer": str(2**64).encode(),
    "huge: negative integer": str(-(2**63) - 1).encode(),
    "huge: integer of ten thousand digits": b"9" * 10_000,
    "deep: one level too many": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "deep: objects": b'{"a":' * 200 + b"1" + b"}" * 200,
    "deep: a hundred thousand open brackets": b"[" * 100_000,
    "deep: a hundred thousand closed brackets": b"[" * 100_000 + b"]" * 100_000,
    "deep: unclosed objects": b'[{"":' * 50_000,
}

ACCEPTED: dict[str, tuple[bytes, Any]] = {
    "empty array": (b"[]", []),
    "empty key": (b'{"":0}', {"": 0}),
    "escapes": (b'"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\/\b\f\n\r\t'),
    "escaped NUL": (b'"\\u0000"', "\0"),
    "surrogate pair": (b'"\\uD83d\\ude39\\uD834\\uDD1E"', "😹𝄞"),
    "an escaped backslash before u": (b'"\\\\ud800"', "\\ud800"),
    "noncharacter": (b'"\\uFFFF"', "\uffff"),
    "raw DEL": (b'"\x7f"', "\x7f"),
    "line separator": ('"\u2028"'.encode(), "\u2028"),
    "spaces of all four kinds": (b" \t\n\r[1] ", [1]),
    "byte order mark": (b"\xef\xbb\xbf[1]", [1]),
    "lonely null": (b"null", None),
    "negative zero": (b"-0", 0),
    "exponents": (b"[1E22,1e-2,123.456e78]", [1e22, 1e-2, 123.456e78]),
    "underflow": (b"123e-10000000", 0.0),
    "largest integer": (str(LARGEST).encode(), LARGEST),
    "smallest integer": (str(SMALLEST).encode(), SMALLEST),
    "same key in two objects": (b'[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
    "the deepest allowed": (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)),
    "many brackets, but flat": (b"[" + b"[]," * 500 + b"[]]", [[]] * 501),
    "brackets in a text": (b'"' + b"[" * 500 + b'"', "[" * 500),
}


def code_of(read: Callable[[bytes], object], value: bytes) -> str | None:
    """Why `value` was refused; None when it was read."""
    try:
        read(value)
    except Undecodable as refused:
        return refused.code
    return None


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_what_is_not_json_is_refused_with_a_known_code(value: bytes) -> None:
    with pytest.raises(Undecodable) as refused:
        parse(value)
    assert refused.value.code in CODES
    assert refused.value.reason.endswith(".")


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_what_is_not_json_is_refused_inside_a_message_too(value: bytes) -> None:
    with pytest.raises(Undecodable):
        decode_inbound(b'{"text":"x","conversation_id":"c","context":{"a":' + value + b"}}")


@pytest.mark.parametrize(("value", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_json_is_read_as_it_says(value: bytes, expected: object) -> None:
    assert parse(value) == expected


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("key twice", "duplicate_key"),
        ("bytes: 0xFF", "invalid_utf8"),
        ("surrogate: high alone", "lone_surrogate"),
        ("huge: integer", "number_out_of_range"),
        ("huge: exponent", "number_out_of_range"),
        ("number: NaN", "invalid_json"),
        ("deep: one level too many", "too_deep"),
        ("deep: a hundred thousand closed brackets", "too_deep"),
        ("structure: two values", "invalid_json"),
    ],
)
def test_the_code_says_which_rule_was_broken(case: str, code: str) -> None:
    with pytest.raises(Undecodable) as refused:
        parse(REFUSED[case])
    assert refused.value.code == code


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(SMALLEST, LARGEST) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@STEADY
@given(VALUES, st.booleans())
def test_everything_json_can_say_is_read_back(value: object, ascii_only: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@STEADY
@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\u0dD8e-+.1 tn\x00', max_size=60).map(str.encode))
def test_no_bytes_do_more_than_be_refused(value: bytes) -> None:
    assert code_of(parse, value) in (None, *CODES)


@pytest.mark.parametrize(
    "value",
    [
        b"[" + b",".join([b"1"] * MAX_VALUES) + b",1]",
        b"{" + b",".join(b'"k%d":1' % at for at in range(MAX_VALUES + 1)) + b"}",
        b'{"a": {"b": [' + b",".join([b"[]"] * (MAX_VALUES + 1)) + b"]}}",
    ],
    ids=["list", "object", "within"],
)
def test_more_values_than_anybody_means_are_refused_before_they_are_read(value: bytes) -> None:
    with pytest.raises(Undecodable) as refused:
        parse(value)
    assert refused.value.code == "too_many_values"


def test_commas_within_texts_are_no_values() -> None:
    spoken = {"text": 'she said: \\"well, well", ' * MAX_VALUES, "more": ["\\", ',"', "\\,"]}
    assert parse(json.dumps(spoken).encode()) == spoken
    assert parse(b"[" + b",".join([b"1"] * MAX_VALUES) + b"]") == [1] * MAX_VALUES
