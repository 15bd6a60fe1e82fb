"""Text tokens: counted as tiktoken counts them, with nothing fetched."""

from __future__ import annotations

import hashlib
import socket
from collections import Counter
from dataclasses import replace

import pytest
import tiktoken
import tiktoken_ext.openai_public as published
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.ports import ChatMessage, ToolCall, ToolSpec
from agents.router.models import Model
from agents.router.rates import from_row
from agents.router.tokens import TokenCounter, encodings
from agents.router.tokens.counter import EXACT
from agents.router.tokens.encodings import SHIPPED, encoding, encoding_name, packed
from agents.router.tokens.memory import Memory
from agents.router.tokens.pieces import LONGEST, pieces
from agents.router.tokens.ranks import DamagedRanks, pack, read_tiktoken, unpack, write_tiktoken

FREE = from_row({"source": "free", "usd_per_1m": {"input": 0, "output": 0}})


def model(name: str = "m", encoding: str | None = "o200k_base", ratio: float = 1.0) -> Model:
    return Model(name, "openai", name, 128_000, frozenset(), 1000, 8.0, FREE, encoding=encoding, token_ratio=ratio)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a token count has opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def shipped_ranks(name: str) -> dict[bytes, int]:
    return unpack(packed(name), count=SHIPPED[name].count, sha256=SHIPPED[name].sha256)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_ranks_are_what_tiktoken_pins(name, monkeypatch):
    """The packed table, written as a .tiktoken file, has the checksum that tiktoken itself asks of the file it would fetch."""
    pinned: list[str] = []
    ranks = shipped_ranks(name)
    monkeypatch.setattr(published, "load_tiktoken_bpe", lambda url, expected_hash: pinned.append(expected_hash) or ranks)
    getattr(published, name)()
    file = write_tiktoken(list(ranks))
    assert [hashlib.sha256(file).hexdigest()] == pinned == [SHIPPED[name].published_sha256]
    assert pack(read_tiktoken(file)) == packed(name)


@pytest.fixture(scope="module")
def reference() -> dict[str, tiktoken.Encoding]:
    """tiktoken's own encodings, put together by tiktoken's own code from the ranks."""
    with pytest.MonkeyPatch.context() as patch:
        made = {}
        for name in SHIPPED:
            patch.setattr(published, "load_tiktoken_bpe", lambda url, expected_hash, name=name: shipped_ranks(name))
            made[name] = tiktoken.Encoding(**getattr(published, name)())
        return made


TEXTS = [
    "",
    "Hello",
    "Where is my order #1003? It's been 12345 days…",
    "<|endoftext|>",
    "a<|fim_prefix|>b<|endofprompt|>c <|im_start|>system",
    "Wo ist meine Bestellung? Größe 42, bitte. 今日の注文は？ 안녕 👩‍👩‍👧‍👦 مرحبا",
    "def f(x):\r\n\treturn x  **  2   \n\n\n",
    "I'LL they'd WE'VE don't",
    " \n \t ",
    "a" * 10_000,
    "字" * 3_000,
    "\x00\x01\ufeff",
]


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:12]))
def test_a_text_counts_as_tiktoken_counts_it_with_special_tokens_as_ordinary_text(name, text, reference):
    expected = len(reference[name].encode(text, disallowed_special=()))
    assert TokenCounter().count_text(model(encoding=name), text) == expected


@settings(max_examples=200, deadline=None)
@given(text=st.text(), name=st.sampled_from(sorted(SHIPPED)))
def test_any_text_counts_as_tiktoken_counts_it(text, name):
    ours = encoding(name)
    assert ours is not None
    assert TokenCounter().count_text(model(encoding=name), text) == len(ours.encode_ordinary(text))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_run_of_blanks_that_tiktoken_gives_up_on_is_counted(name):
    """tiktoken panics, with an exception that no `except Exception` catches; in pieces it is at most a token a cut off."""
    ours = encoding(name)
    assert ours is not None
    half = len(ours.encode_ordinary(" " * 600_000 + "x"))
    assert TokenCounter().count_text(model(encoding=name), " " * 1_200_000 + "x") == pytest.approx(2 * half, abs=4)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize(
    "text", ["We don't cut words, or 12345 numbers; nor `code()`.\r\n\t ", "Où est ma commande ?  \U0001f600 I asked. "]
)
def test_a_text_of_more_than_one_piece_counts_as_in_one(name, text):
    ours, long = encoding(name), text * (LONGEST // len(text) * 2 + 3)
    assert ours is not None
    assert len(list(pieces(long))) == 3
    assert TokenCounter().count_text(model(encoding=name), long) == len(ours.encode_ordinary(long))


def test_a_lone_surrogate_is_counted_not_refused():
    """JSON can carry half of a character."""
    assert TokenCounter().count_text(model(), "\ud83d") == TokenCounter().count_text(model(), "\ufffd")
    assert TokenCounter().count_text(model(), "x" * 400 + "\ud83d") > 0


def test_the_encoding_of_a_name_is_the_one_tiktoken_lists_when_it_is_shipped():
    names = ("gpt-4", "gpt-4o-mini", "gpt-5.4-nano", "gpt-oss-20b", "text-davinci-003", "llama3", "")
    assert [encoding_name(name) for name in names] == ["cl100k_base", "o200k_base", "o200k_base", "o200k_base", None, None, None]


def test_a_model_with_an_encoding_nobody_ships_is_counted_with_o200k_base():
    text = TEXTS[2]
    counter = TokenCounter()
    assert counter.count_text(model(encoding="p50k_base"), text) == counter.count_text(model(encoding="o200k_base"), text)


def test_without_a_table_four_characters_are_a_token_and_it_is_said_once(caplog):
    def missing(name: str) -> bytes:
        raise FileNotFoundError(name)

    counter = TokenCounter(load=lambda name: encoding(name, missing))
    assert [counter.count_text(model(), text) for text in ("", "abc", "abcd", "abcde")] == [0, 1, 1, 2]
    assert [record.getMessage().count("Install hil-agents again") for record in caplog.records] == [1]


def test_a_damaged_table_is_not_used(caplog):
    def damaged(name: str) -> bytes:
        content = bytearray(packed(name))
        content[-40] ^= 1
        return bytes(content)

    assert encoding("cl100k_base", damaged) is None
    assert "checksum" in caplog.text


def test_a_table_with_other_tokens_than_it_says_is_refused():
    content = pack([b"a", b"bc"])
    digest = hashlib.sha256(content).hexdigest()
    assert unpack(content, count=2, sha256=digest) == {b"a": 0, b"bc": 1}
    with pytest.raises(DamagedRanks, match="does not hold 1 tokens"):
        unpack(content, count=1, sha256=digest)


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=255), unique=True))
def test_packing_has_an_inverse(tokens):
    content = pack(tokens)
    ranks = unpack(content, count=len(tokens), sha256=hashlib.sha256(content).hexdigest())
    assert list(ranks) == tokens == read_tiktoken(write_tiktoken(tokens))


# Requests


class Counting:
    """An encoding that remembers which texts it was given."""

    def __init__(self) -> None:
        self.given: Counter[str] = Counter()

    def encode_ordinary(self, text: str) -> list[int]:
        self.given[text] += 1
        return [0] * len(text.split())


TOOL = ToolSpec("shopify.get_order", "Look an order up.", {"type": "object", "properties": {"order_id": {"type": "string"}}})
SCHEMA = {"type": "object", "properties": {"intent": {"enum": ["order_status", "complaint"]}}}


def test_a_request_is_its_messages_with_four_each_and_its_tools_calls_and_schema_as_json():
    counter, one = TokenCounter(), model()
    messages = (
        ChatMessage("system", "Be kind."),
        ChatMessage(
            "assistant", "", (ToolCall("1", "shopify.get_order", {"order_id": "1003"}), ToolCall("2", "x.y", None, "{no"))
        ),
        ChatMessage("tool", '{"status": "shipped"}', tool_call_id="1"),
    )
    texts = [
        "Be kind.",
        'shopify.get_order{"order_id":"1003"}',
        "x.y{no",
        '{"status": "shipped"}',
        '{"name":"shopify.get_order","description":"Look an order up.",'
        '"parameters":{"type":"object","properties":{"order_id":{"type":"string"}}}}',
        '{"type":"object","properties":{"intent":{"enum":["order_status","complaint"]}}}',
    ]
    expected = sum(counter.count_text(one, text) for text in texts) + 3 * 4
    assert counter.count_request(one, messages, (TOOL,), SCHEMA) == expected
    assert counter.count_request(one, list(messages), [TOOL], dict(SCHEMA)) == expected


def test_the_tenth_turn_of_a_conversation_encodes_one_message():
    """Each turn reads the conversation again: equal messages, not the same objects."""
    encoder = Counting()
    counter = TokenCounter(load=lambda name: encoder)
    for turn in range(1, 11):
        messages = tuple(ChatMessage("user", f"message {number} " * 200) for number in range(turn))
        counter.count_request(model(), messages, (replace(TOOL),), dict(SCHEMA))
    assert max(encoder.given.values()) == 1
    assert len(encoder.given) == 10 + 2


def test_forty_candidates_share_one_count_for_each_encoding():
    encoder = Counting()
    counter = TokenCounter(load=lambda name: encoder)
    messages = (ChatMessage("user", "where is it"),)
    names = ("cl100k_base", "o200k_base", None)
    assert {counter.count_request(model(f"m{n}", names[n % 3]), messages, (TOOL,), SCHEMA) for n in range(40)} == {4 + 3 + 4 + 1}
    assert {*encoder.given.values()} == {2}


def test_a_list_of_messages_may_grow_between_two_counts():
    counter, messages = TokenCounter(), [ChatMessage("user", "one")]
    first = counter.count_request(model(), messages)
    messages.append(ChatMessage("user", "two"))
    assert counter.count_request(model(), messages) == 2 * first


def test_requests_in_turn_do_not_get_each_others_count():
    counter = TokenCounter()
    short, long = (ChatMessage("user", "hi"),), (ChatMessage("user", "hi there, where is my order"),)
    alone = [TokenCounter().count_request(model(), messages) for messages in (short, long)]
    assert [counter.count_request(model(), messages) for messages in (short, long) * 3] == alone * 3


def test_what_is_remembered_is_bounded_and_the_latest_stays():
    memory: Memory[str, int] = Memory(3)
    for key in "abc":
        memory.put(key, 1)
    memory.get("a")
    memory.put("d", 1)
    assert [key for key in "abcd" if memory.get(key)] == ["a", "c", "d"]
    assert len(memory) == 3


def test_a_long_text_is_not_kept_only_its_count():
    counter = TokenCounter()
    counter.count_text(model(), "x" * 100_000)
    assert max(len(key) for _, key in counter._texts._kept) <= 256


# Learned ratios


def test_a_model_without_an_encoding_starts_from_its_own_ratio():
    counter, text = TokenCounter(), "where is my order, please? " * 20
    plain = counter.count_text(model(), text)
    assert counter.count_text(model("claude", None, 1.5), text) == round(plain * 1.5)


def learned(counter: TokenCounter, one: Model, factor: float, calls: int) -> float:
    """After `calls` calls for which the provider counts `factor` times what o200k_base does."""
    for number in range(calls):
        text = f"{number} where is my order, please? " * 30
        counter.learn(one, counter.count_text(one, text), round(counter.count_text(model(), text) * factor))
    return counter.ratio(one)


def test_the_ratio_of_a_model_is_learned_from_its_own_calls():
    counter = TokenCounter()
    assert learned(counter, model("claude", None, 1.2), 1.6, 40) == pytest.approx(1.6, abs=0.02)
    assert learned(counter, model("llama", None, 1.0), 0.9, 40) == pytest.approx(0.9, abs=0.02)
    assert counter.ratio(model("claude", None, 1.2)) == pytest.approx(1.6, abs=0.02)


def test_fifty_calls_estimated_alike_do_not_correct_the_same_error_fifty_times():
    """They were all in flight before the first had returned."""
    counter, one, text = TokenCounter(), model("claude", None, 1.0), "where is my order, please? " * 30
    plain = counter.count_text(model(), text)
    estimates = [counter.count_text(one, text) for _ in range(50)]
    for estimated in estimates:
        counter.learn(one, estimated, round(plain * 1.4))
    assert counter.ratio(one) == pytest.approx(1.4, abs=0.02)


def test_learning_follows_a_change_and_withstands_an_outlier():
    counter, one = TokenCounter(), model("claude", None, 1.0)
    learned(counter, one, 1.2, 60)
    before = counter.ratio(one)
    counter.learn(one, counter.count_text(one, "word " * 100), 10_000_000)
    assert counter.ratio(one) - before < 0.2
    assert learned(counter, one, 1.5, 120) == pytest.approx(1.5, abs=0.03)


@pytest.mark.parametrize(("estimated", "actual"), [(0, 100), (500, 0), (500, -3), (10, 100)])
def test_a_call_that_says_nothing_teaches_nothing(estimated, actual):
    counter, one = TokenCounter(), model("claude", None, 1.2)
    counter.learn(one, estimated, actual)
    assert counter.ratio(one) == 1.2


def test_a_model_with_an_encoding_does_not_learn():
    counter = TokenCounter()
    counter.learn(model(), 1000, 5000)
    assert counter.ratio(model()) == 1.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(-10, 100_000)), max_size=60))
def test_no_report_takes_a_ratio_out_of_its_bounds(reports):
    counter, one = TokenCounter(load=lambda name: None), model("claude", None, 1.2)
    for estimated, actual in reports:
        counter.learn(one, estimated, actual)
    assert 0.25 <= counter.ratio(one) <= 4


def test_warming_loads_what_the_models_need_and_nothing_else():
    loaded: list[str] = []
    counter = TokenCounter(load=lambda name: loaded.append(name))
    counter.warm([model(encoding="cl100k_base"), model("a"), model("b", None)])
    assert sorted(loaded) == ["cl100k_base", "o200k_base"]
    loaded.clear()
    counter.warm([model(encoding="cl100k_base")])
    assert loaded == ["cl100k_base"]


def test_the_notice_of_the_licence_lies_beside_the_tables():
    notice = encodings.files("agents.router.tokens").joinpath("data", "NOTICE").read_text("utf-8")
    assert "MIT License" in notice
    assert all(f"{name}.ranks.xz" in notice for name in SHIPPED)


def test_a_text_of_any_length_is_counted_by_at_most_so_many_characters():
    """Counting happens where all customers' work happens; a provider may answer with megabytes."""

    class Told:
        def __init__(self) -> None:
            self.characters = 0

        def encode_ordinary(self, text: str) -> list[int]:
            self.characters += len(text)
            return [0] * (len(text) // 2)

    told = Told()
    counter = TokenCounter(load=lambda name: told)  # type: ignore[arg-type, return-value]
    assert abs(counter.count_text(model(), "ab " * 20_000_000) - 30_000_000) < 600_000
    assert told.characters <= EXACT
