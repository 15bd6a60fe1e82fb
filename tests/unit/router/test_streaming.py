"""Streaming through the router: who is asked next and until when, what is paid when it breaks off, and what the breakers hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from agents.errors import Fatal, NodeFailure, Retryable, attempts_of
from agents.journal import JournaledModel
from agents.meter import Meter, MeteredModel
from agents.ports import ChatMessage, ChatPiece, ChatRequest, ModelAttempt, Usage
from agents.router.allowances import BudgetedModel
from agents.router.models import Model, ModelCapability
from agents.router.ports import Delta, ProviderReply
from agents.router.profiles import Profile, Weights
from agents.router.request import CallContext
from agents.router.router import Router
from agents.streaming import pieces
from connectors.llm.endpoint import Patience
from connectors.llm.usage import tokens
from tests.unit.agents.doubles import MemoryJournal
from tests.unit.agents.doubles import Scripted as Whole
from tests.unit.llm.dialects import ANTHROPIC, BOTH, OPENAI, Dialect, provider_at, stream_of
from tests.unit.llm.misbehaving import HANG_UP, RESET, SILENCE, Server, serving, streamed
from tests.unit.router.worlds import ALL, Clock, Purse, Words, World, model

either = pytest.mark.parametrize("said", BOTH, ids=["openai", "anthropic"])
FIRST_THEN_SECOND = Profile("mine", ("first",), ("second",), 1_000_000, 60_000, Weights(1, 1, 1))
QUICK = Patience(connect=1.0, first_token=0.2, total=5.0)
ASKED = ChatRequest("mine", (ChatMessage("user", "Where is order 7?"),), max_tokens=400)


@dataclass
class Reading:
    """What a reader has got of a stream, and what was told on the way."""

    router: Router
    servers: tuple[Server, Server]
    purse: Purse = field(default_factory=lambda: Purse(1_000_000))
    told: list[ModelAttempt] = field(default_factory=list)
    text: str = ""

    @property
    def asked(self) -> tuple[int, int]:
        """How often the first server was asked, and the second."""
        return len(self.servers[0].asked), len(self.servers[1].asked)

    def stream(self, request: ChatRequest = ASKED) -> AsyncGenerator[ChatPiece, None]:
        bound = self.router.bound(CallContext(sticky=False))
        given = ChatRequest(
            request.profile,
            request.messages,
            max_tokens=request.max_tokens,
            budget=self.purse,
            on_attempt=self.told.append,
        )
        return bound.stream(given)

    async def all(self) -> Any:
        """The reply."""
        async with aclosing(self.stream()) as heard:
            async for piece in heard:
                self.text += piece.text
                if piece.reply is not None:
                    return piece.reply
        raise AssertionError("a stream has ended without its reply")

    async def until(self, text: str) -> None:
        """Read so far, and no further."""
        async with aclosing(self.stream()) as heard:
            async for piece in heard:
                self.text += piece.text
                if self.text == text:
                    return


@asynccontextmanager
async def reading(
    said: Dialect,
    first: tuple[Any, ...],
    *,
    second: tuple[Any, ...] | None = None,
    patience: Patience = QUICK,
    capabilities: frozenset[ModelCapability] = ALL,
) -> AsyncIterator[Reading]:
    """`first` and `second` are the scripts of the models' servers; the second model, at the other provider, answers."""
    other = ANTHROPIC if said is OPENAI else OPENAI
    models = {
        "first": model("first", provider=said.provider, capabilities=capabilities),
        "second": model("second", provider=other.provider),
    }
    world = World(models=models, profiles={"mine": FIRST_THEN_SECOND})
    async with AsyncExitStack() as stack:
        scripts = (first, second or (stream_of(other, "sec", "ond"),))
        servers = [await stack.enter_async_context(serving(*script)) for script in scripts]
        providers = {
            dialect.provider: await stack.enter_async_context(provider_at(server.url, dialect, patience))
            for dialect, server in zip((said, other), servers, strict=True)
        }
        router = Router(world, providers, Words(), clock=world.clock)
        yield Reading(router, (servers[0], servers[1]))


@either
async def test_pieces_reach_the_reader_as_they_come_and_the_last_has_the_whole_reply(said: Dialect):
    async with reading(said, (stream_of(said, "Hel", "lo"),)) as read:
        reply = await read.all()
        assert read.text == reply.text == "Hello"
        assert (reply.model, reply.input_text_tokens, reply.cached_text_tokens, reply.output_text_tokens) == (
            "first",
            1000,
            800,
            100,
        )
        assert reply.first_token_ms is not None
        [attempt] = read.told
        assert (attempt.outcome, attempt.usage, attempt.cost_micro_usd) == ("ok", Dialect.usage_normal, 650)
        assert reply.attempts == (attempt,)
        assert attempt.candidates
        assert (read.purse.spent, read.purse.held) == (650, 0)
        assert read.servers[0].asked[0].body["stream"] is True


@either
async def test_a_piece_does_not_wait_for_the_rest(said: Dialect):
    async with reading(said, (streamed(said.opening(), said.piece("Hel"), SILENCE),)) as read:
        await read.until("Hel")


BEFORE_A_TOKEN = {
    "http_500": lambda said: (said.error(500),),
    "http_429": lambda said: (said.error(429),),
    "http_401": lambda said: (said.error(401),),
    "reset": lambda said: (streamed(said.opening(), 0.02, RESET),),
    "timeout_first_token": lambda said: (streamed(said.opening(), SILENCE),),
    "http_529": lambda said: (streamed(said.opening(), said.broken_off("overloaded_error")),),
}


@either
@pytest.mark.parametrize("code", BEFORE_A_TOKEN)
async def test_before_a_token_was_read_the_next_model_is_asked(said: Dialect, code: str):
    async with reading(said, BEFORE_A_TOKEN[code](said)) as read:
        reply = await read.all()
        assert (read.text, reply.model) == ("second", "second")
        failed, answered = read.told
        assert (failed.outcome, failed.model, answered.outcome, answered.model) == (code, "first", "ok", "second")
        assert read.purse.spent == failed.cost_micro_usd + answered.cost_micro_usd
        assert read.purse.held == 0
        assert (failed.cost_micro_usd > 0) == (failed.usage.input_text_tokens > 0)


@either
@pytest.mark.parametrize("end", [RESET, HANG_UP, "overloaded_error"], ids=["reset", "closed", "an error inside"])
async def test_after_a_token_was_read_nobody_else_is_asked_and_what_came_is_paid(said: Dialect, end: Any):
    """A second model would begin anew, and the reader has the first one's words."""
    last = said.broken_off(end) if isinstance(end, str) else end
    async with reading(said, (streamed(said.opening(), said.piece("x" * 400), 0.02, last),)) as read:
        with pytest.raises(Retryable, match="first broke off after its first words were read") as failed:
            await read.all()
        assert read.text == "x" * 400
        assert read.asked == (1, 0)
        [attempt] = read.told
        assert attempts_of(failed.value) == (attempt,)
        assert attempt.outcome == ("http_529" if isinstance(end, str) else "reset")
        assert attempt.usage.output_text_tokens == 100
        assert read.purse.spent == attempt.cost_micro_usd > 0
        assert read.purse.held == 0


@either
async def test_a_stream_that_falls_silent_after_its_first_token_ends_at_the_total(said: Dialect):
    patience = Patience(connect=1.0, first_token=0.2, total=0.4)
    async with reading(said, (streamed(said.opening(), said.piece("abcd"), SILENCE),), patience=patience) as read:
        with pytest.raises(Retryable, match="broke off"):
            await read.all()
        assert [attempt.outcome for attempt in read.told] == ["timeout_total"]
        assert read.purse.spent == read.told[0].cost_micro_usd > 0


@either
async def test_who_stops_reading_pays_for_what_came_and_it_is_told(said: Dialect):
    async with reading(said, (streamed(said.opening(), said.piece("x" * 400), SILENCE),)) as read:
        await read.until("x" * 400)
        [attempt] = read.told
        assert (attempt.outcome, attempt.success, attempt.usage.output_text_tokens) == ("stopped", True, 100)
        given = (1000, 800) if said is ANTHROPIC else (tokens(len("Where is order 7?")), 0)
        assert (attempt.usage.input_text_tokens, attempt.usage.cached_text_tokens) == given
        assert read.purse.spent == attempt.cost_micro_usd > 0
        assert read.purse.held == 0
        assert read.asked == (1, 0)


async def cancelled(read: Reading, text: str) -> asyncio.CancelledError:
    """A reader that is cancelled once it has read this and waits for more."""
    waiting = asyncio.ensure_future(read.all())
    async with asyncio.timeout(5):
        while read.text != text or not read.servers[0].asked:
            await asyncio.sleep(0.005)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError) as gone:
        await waiting
    return gone.value


@either
async def test_a_reader_that_is_cancelled_pays_for_what_came_and_before_a_token_what_was_estimated(said: Dialect):
    silent = Patience(connect=1.0, first_token=5.0, total=5.0)
    async with reading(said, (streamed(said.opening(), said.piece("abcd"), SILENCE),), patience=silent) as read:
        gone = await cancelled(read, "abcd")
        [attempt] = read.told
        assert (attempt.outcome, attempt.usage.output_text_tokens) == ("cancelled", 1)
        assert attempts_of(gone) == (attempt,)
        assert (read.purse.spent, read.purse.held) == (attempt.cost_micro_usd, 0)
    async with reading(said, (streamed(said.opening(), SILENCE),), patience=silent) as read:
        await cancelled(read, "")
        [attempt] = read.told
        assert (attempt.outcome, attempt.usage, attempt.cost_micro_usd) == (
            "cancelled",
            attempt.estimated,
            attempt.estimated_cost_micro_usd,
        )
        assert (read.purse.spent, read.purse.held) == (attempt.cost_micro_usd, 0)


@either
async def test_usage_that_is_not_told_is_estimated(said: Dialect):
    async with reading(said, (stream_of(said, "one two ", "three", usage={}),)) as read:
        reply = await read.all()
        if said is OPENAI:  # Anthropic told the input at the beginning
            assert read.told[0].usage == Usage(input_text_tokens=4 + 4, output_text_tokens=3)
        assert reply.output_text_tokens > 0
        assert read.purse.spent == read.told[0].cost_micro_usd > 0


@either
async def test_streams_that_break_off_open_the_breaker(said: Dialect):
    async with reading(said, (streamed(said.opening(), said.piece("abcd"), 0.02, RESET),)) as read:
        for _ in range(5):
            with pytest.raises(Retryable):
                await read.all()
        assert read.router.health.states()["first"] == "open"
        assert (await read.all()).model == "second"
        assert read.asked == (5, 1)


async def test_a_reader_that_stops_says_nothing_of_the_model_and_lets_the_next_find_out():
    async with reading(
        OPENAI, (OPENAI.error(500),) * 5 + (streamed(OPENAI.opening(), OPENAI.piece("a"), SILENCE), stream_of(OPENAI, "b"))
    ) as read:
        for _ in range(5):
            await read.all()
        clock = read.router.clock
        assert isinstance(clock, Clock)
        clock.now += 61
        read.text = ""
        await read.until("a")
        assert read.router.health.states()["first"] == "half_open"
        assert (await read.all()).model == "first"
        assert read.router.health.states()["first"] == "closed"


async def test_a_model_that_cannot_stream_is_left_out_with_that_reason():
    async with reading(OPENAI, (stream_of(OPENAI, "no"),), capabilities=frozenset({"tools"})) as read:
        assert (await read.all()).model == "second"
        [attempt] = read.told
        assert any(each["model"] == "first" and "streaming" in each.get("left_out", "") for each in attempt.candidates)
        assert read.asked[0] == 0


async def test_when_all_fail_before_a_token_the_error_names_each_and_may_be_tried_again():
    async with reading(OPENAI, (OPENAI.error(500),), second=(ANTHROPIC.error(529),)) as read:
        with pytest.raises(Retryable, match=r"first.*second") as failed:
            await read.all()
        assert [attempt.outcome for attempt in attempts_of(failed.value)] == ["http_500", "http_529"]
        assert (read.purse.spent, read.purse.held) == (0, 0)


async def test_a_stream_that_no_budget_pays_is_refused_and_nobody_is_asked():
    async with reading(OPENAI, (stream_of(OPENAI, "no"),)) as read:
        read.purse.left = 1
        with pytest.raises(NodeFailure) as failed:
            await read.all()
        assert {attempt.outcome for attempt in attempts_of(failed.value)} == {"over_budget"}
        assert read.asked == (0, 0)


async def test_a_profile_nobody_knows_is_refused_before_anybody_is_asked():
    async with reading(OPENAI, (stream_of(OPENAI, "no"),)) as read:
        with pytest.raises(Fatal, match="there is no model profile 'other'"):
            await anext(read.stream(ChatRequest("other", ASKED.messages)))


class SlowlyRead:
    """A provider by a clock of its own: a second to the first piece, a second to the end, as it sees it."""

    name = "openai"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    async def complete(self, model: Model, request: ChatRequest) -> ProviderReply:
        raise AssertionError("asked to stream")

    async def stream(self, model: Model, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        began = self.clock.now
        self.clock.now += 1
        yield Delta("a", paid=Usage(1, 0, 0, 1))
        self.clock.now += 1
        passed = round((self.clock.now - began) * 1000)
        yield Delta(reply=ProviderReply("a", (), Usage(1, 0, 0, 1), "stop", passed, 1000))


@pytest.mark.parametrize("stops", [False, True], ids=["reads to the end", "stops"])
async def test_the_readers_own_time_is_not_the_models(stops: bool):
    """A reader that dawdles would teach the router that the model is slow."""
    world = World(models={"first": model("first")}, profiles={"mine": FIRST_THEN_SECOND})
    router, told = Router(world, {"openai": SlowlyRead(world.clock)}, Words(), clock=world.clock), []
    bound = router.bound(CallContext(sticky=False))
    async with aclosing(bound.stream(ChatRequest("mine", ASKED.messages, on_attempt=told.append))) as heard:
        async for piece in heard:
            if piece.text:
                world.clock.now += 60
                if stops:
                    break
    assert [(attempt.latency_ms, attempt.first_token_ms) for attempt in told] == [(1000 if stops else 2000, 1000)]


async def test_what_a_node_hears_is_booked_kept_in_the_journal_and_not_asked_for_again():
    journal, first, again = MemoryJournal(), Meter(), Meter()
    async with reading(ANTHROPIC, (stream_of(ANTHROPIC, "Hel", "lo"),)) as read:
        bound = BudgetedModel(read.router.bound(CallContext(sticky=False)), read.purse)
        texts = []
        for meter in (first, again):
            node = MeteredModel(JournaledModel(bound, journal, attempt=1), meter)
            async with aclosing(pieces(node, ASKED)) as heard:
                texts.append("".join([piece.text async for piece in heard]))
        assert texts == ["Hello", "Hello"]
        assert read.asked == (1, 0)
        assert first == again
        assert (first.cost_micro_usd, first.models, read.purse.spent) == (650, ["first"], 650)


async def test_a_node_that_stops_reading_has_it_in_its_books_and_not_in_its_journal():
    journal, meter = MemoryJournal(), Meter()
    async with reading(ANTHROPIC, (streamed(ANTHROPIC.opening(), ANTHROPIC.piece("abcd"), SILENCE),)) as read:
        node = MeteredModel(JournaledModel(read.router.bound(CallContext(sticky=False)), journal, attempt=1), meter)
        async with aclosing(pieces(node, ASKED)) as heard:
            assert (await anext(heard)).text == "abcd"
        [call] = meter.model_calls
        assert (call.step, call.attempt.outcome, call.attempt.usage.output_text_tokens) == ("model-1", "stopped", 1)
        assert journal.lookup("model-1") is None


async def test_a_model_that_only_answers_whole_is_heard_in_one_piece():
    async with aclosing(pieces(Whole("hello"), ASKED)) as heard:
        text, reply = [piece async for piece in heard]
    assert (text.text, text.reply) == ("hello", None)
    assert reply.reply is not None
    assert (reply.text, reply.reply.text) == ("", "hello")
