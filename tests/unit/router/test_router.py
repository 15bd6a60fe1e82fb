"""The router asks one model after the other, keeps to limits and budgets, and writes down every try."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.errors import Fatal, Retryable, attempts_of
from agents.ports import ChatMessage, ChatRequest, ToolSpec, Usage
from agents.router.budget import OverBudget
from agents.router.ports import ProviderReply
from agents.router.request import CallContext, Constraints
from tests.unit.router.worlds import BALANCED, FAST, POWERFUL, Purse, World, fails, replies, says

CONTEXT = CallContext(conversation_id="c", workflow="w@1", node_id="n")
DOWN = {name: fails() for name in ("gpt-3.5-turbo", "gpt-4-turbo", "claude-3-haiku", "claude-3-sonnet")}


async def test_the_first_choice_answers_and_its_reply_says_what_it_took():
    world = World()
    reply = await world.router().bound(CONTEXT).complete(says("Hello"))
    assert (reply.text, reply.model, world.asked()) == ("hello", "claude-3-haiku", ["claude-3-haiku"])
    [attempt] = reply.attempts
    assert (attempt.outcome, attempt.cost_micro_usd, attempt.usage) == ("ok", reply.cost_micro_usd, Usage(5, 0, 0, 3))
    assert attempt.price == {"input": 250, "output": 1250}
    assert attempt.runner_up == "gpt-3.5-turbo"
    assert {each["model"] for each in attempt.candidates} == {*FAST.primary, *FAST.fallback}
    assert "claude-3-haiku" in attempt.reasoning


async def test_when_the_first_choice_fails_the_next_answers_and_both_are_in_the_books():
    world = World()
    world.anthropic.behaves = {"claude-3-haiku": fails(code="http_529", usage=Usage(5, 0, 0, 100))}
    reply = await world.router().bound(CONTEXT).complete(says("Hello"))
    assert [(each.model, each.outcome) for each in reply.attempts] == [("claude-3-haiku", "http_529"), ("gpt-3.5-turbo", "ok")]
    assert reply.attempts[0].cost_micro_usd > 0  # what it had written before it failed is paid
    assert (bool(reply.attempts[0].candidates), bool(reply.attempts[1].candidates)) == (True, False)


async def test_when_all_fail_the_error_names_each_and_carries_the_tries():
    world = World()
    world.openai.behaves = world.anthropic.behaves = dict(DOWN)
    with pytest.raises(Retryable) as raised:
        await world.router().bound(CONTEXT).complete(says("Hello"))
    assert all(name in str(raised.value) for name in DOWN)
    assert [each.outcome for each in raised.value.attempts] == ["http_500"] * 4
    assert raised.value.retry_after_seconds is None


async def test_a_request_one_provider_refuses_is_taken_to_the_next_once():
    """A 400 speaks of the request and of who refuses it together: the same provider's other models are not asked."""
    world = World()
    world.anthropic.behaves = {"claude-3-haiku": fails("callers_fault", "http_400", message="bad tool schema")}
    reply = await world.router().bound(CONTEXT).complete(says("Hello"))
    assert [(each.model, each.outcome) for each in reply.attempts] == [("claude-3-haiku", "http_400"), ("gpt-3.5-turbo", "ok")]
    world.openai.behaves = dict.fromkeys(world.models, fails("callers_fault", "http_400", message="not here either"))
    with pytest.raises(Fatal, match=r"bad tool schema.*not here either") as raised:
        await world.router().bound(CONTEXT).complete(says("Hello"))
    assert [(each.provider, each.outcome) for each in raised.value.attempts] == [
        ("anthropic", "http_400"),
        ("openai", "http_400"),
    ]


@pytest.mark.parametrize(
    ("failure", "fault"),
    [
        (fails(), "models"),
        (fails("cool_down", "http_429"), "models"),
        (fails("key_broken", "http_401"), "models"),
        (fails("callers_fault", "http_400"), ""),
    ],
    ids=lambda each: getattr(each, "code", each),
)
async def test_a_failure_says_whether_it_speaks_of_the_models_or_of_who_asked(failure, fault):
    """A bad request is the agent's own doing; an outage is nobody's whose health is watched."""
    world = World()
    router = world.router()
    for provider in (world.openai, world.anthropic):
        provider.behaves = dict.fromkeys(world.models, failure)
    with pytest.raises((Fatal, Retryable)) as raised:
        await router.bound(CONTEXT).complete(says("Hello"))
    assert raised.value.fault == fault


@pytest.mark.parametrize("purse", [Purse(1), Purse(0, "exhausted")], ids=["refused at the call", "refused before it"])
async def test_a_spent_budget_speaks_of_the_budget(purse):
    with pytest.raises(Fatal) as raised:
        await World().router().bound(CONTEXT).complete(says("Hello", budget=purse))
    assert raised.value.fault == "budget"


async def test_an_overflow_the_estimate_missed_goes_to_a_larger_window_and_to_no_smaller_one():
    world = World()
    profile = replace(POWERFUL, primary=("gpt-4",), fallback=("gpt-3.5-turbo", "claude-3-opus"))
    world.profiles = {"powerful": profile}
    world.models = {**world.models, "gpt-3.5-turbo": replace(world.models["gpt-3.5-turbo"], context=8_192)}
    world.openai.behaves = {"gpt-4": fails("callers_fault", "context_length_exceeded", too_long=True)}
    reply = await world.router().bound(CONTEXT).complete(says("Hello", profile="powerful"))
    assert [each.model for each in reply.attempts] == ["gpt-4", "claude-3-opus"]


async def test_a_key_refused_for_two_models_is_not_tried_with_a_third():
    world = World()
    world.anthropic.behaves = dict.fromkeys(("claude-3-haiku", "claude-3-sonnet"), fails("key_broken", "http_401"))
    router = world.router()
    world.openai.behaves = {"gpt-3.5-turbo": fails()}
    reply = await router.bound(CONTEXT).complete(says("Hello"))
    assert [each.model for each in reply.attempts] == ["claude-3-haiku", "gpt-3.5-turbo", "claude-3-sonnet", "gpt-4-turbo"]
    assert router.health.keys()["anthropic"] == "open"
    decision = router.decide(says("Hello"), CONTEXT)
    assert {each.model for each in decision.left_out} == {"claude-3-haiku", "claude-3-sonnet"}


async def test_when_every_key_is_refused_trying_again_is_no_use():
    world = World()
    world.openai.behaves = world.anthropic.behaves = {name: fails("key_broken", "http_401") for name in DOWN}
    with pytest.raises(Fatal, match="http_401"):
        await world.router().bound(CONTEXT).complete(says("Hello"))


async def test_nothing_fits_names_every_model_with_its_reason_in_one_message():
    world = World()
    context = replace(CONTEXT, constraints=Constraints(max_cost_micro_usd=1_000))
    with pytest.raises(Fatal) as raised:
        await world.router().bound(context).complete(says("word " * 10_000))
    message = str(raised.value)
    assert all(f"{name}: " in message for name in (*FAST.primary, *FAST.fallback))
    assert "raise the limit" in message
    assert world.asked() == []
    [attempt] = raised.value.attempts
    assert (attempt.outcome, len(attempt.candidates)) == ("no_model", 4)


async def test_when_all_breakers_are_open_the_error_says_when_to_try_again():
    world = World()
    world.openai.behaves = world.anthropic.behaves = dict(DOWN)
    router = world.router()
    for _ in range(5):
        with pytest.raises(Retryable):
            await router.bound(CONTEXT).complete(says("Hello"))
        world.clock.now += 1
    asked = len(world.asked())
    with pytest.raises(Retryable, match=r"Try again in 59 s") as raised:
        await router.bound(CONTEXT).complete(says("Hello"))
    assert raised.value.retry_after_seconds == 59.0
    assert len(world.asked()) == asked


async def test_a_model_that_cools_down_is_passed_over_until_its_time_has_come():
    world = World()
    world.anthropic.behaves = {"claude-3-haiku": fails("cool_down", "http_429", retry_after_s=30.0)}
    router = world.router()
    await router.bound(CONTEXT).complete(says("Hello"))
    world.anthropic.behaves = {}
    assert (await router.bound(CONTEXT).complete(says("Hello"))).model == "gpt-3.5-turbo"
    world.clock.now += 30
    assert (await router.bound(CONTEXT).complete(says("Hello"))).model == "claude-3-haiku"


async def test_a_profile_nobody_knows_is_named_with_the_nearest():
    with pytest.raises(Fatal, match=r"no model profile 'fats'. Did you mean fast\?"):
        await World().router().bound(CONTEXT).complete(says("Hello", profile="fats"))


async def test_a_workflows_own_profile_goes_before_the_routers():
    context = replace(CONTEXT, profiles={"fast": replace(FAST, primary=("gpt-3.5-turbo",), fallback=())})
    assert (await World().router().bound(context).complete(says("Hello"))).model == "gpt-3.5-turbo"


async def test_tools_and_schemas_are_asked_of_models_that_can():
    world = World()
    haiku = world.models["claude-3-haiku"]
    world.models = {**world.models, haiku.name: replace(haiku, capabilities=frozenset({"structured_output"}))}
    router = world.router()
    tools = says("Hello", tools=(ToolSpec("a.b", "", {}),))
    assert (await router.bound(CONTEXT).complete(tools)).model == "gpt-3.5-turbo"
    assert (await router.bound(CONTEXT).complete(says("Hello", output_schema={"type": "object"}))).model == "claude-3-haiku"


async def test_a_model_without_a_provider_is_left_out_with_that_reason():
    world = World()
    router = world.router()
    del router.providers["anthropic"]  # type: ignore[attr-defined]
    decision = router.decide(says("Hello"), CONTEXT)
    reason = "no provider anthropic is configured: set ANTHROPIC_API_KEY"
    assert ("claude-3-haiku", reason) in [(each.model, each.reason) for each in decision.left_out]


async def test_an_endpoint_that_does_not_count_is_counted_for():
    world = World()
    world.anthropic.behaves = {"claude-3-haiku": ProviderReply("three whole words", (), None, "stop", 10)}
    reply = await world.router().bound(CONTEXT).complete(says("Hello"))
    assert (reply.input_text_tokens, reply.output_text_tokens) == (5, 3)
    assert world.counter.learned == []


async def test_no_answer_can_cost_more_than_the_limit_however_long_it_gets():
    """The limit pays for 100 text tokens of output: more are not asked for."""
    world = World()
    context = replace(CONTEXT, constraints=Constraints(max_cost_micro_usd=126))
    router = world.router()
    router.learned.wrote("w@1", "n", 50)
    await router.bound(context).complete(says("Hello"))
    [(name, asked)] = [*world.anthropic.asked, *world.openai.asked]
    model = world.models[name]
    assert asked.max_tokens < 4096
    assert (
        model.rates.micro_usd(Usage(5, 0, 0, asked.max_tokens))
        <= 126
        < model.rates.micro_usd(Usage(5, 0, 0, asked.max_tokens + 1))
    )


async def test_what_a_node_writes_is_expected_of_it_the_next_time():
    world = World()
    world.anthropic.behaves = {"claude-3-haiku": replies(output=100)}
    router = world.router()
    before = router.decide(says("Hello"), CONTEXT).chosen
    await router.bound(CONTEXT).complete(says("Hello"))
    after = router.decide(says("Hello"), CONTEXT).chosen
    other = router.decide(says("Hello"), replace(CONTEXT, node_id="m")).chosen
    assert before is not None
    assert after is not None
    assert other is not None
    assert [each.estimated.output_text_tokens for each in (before, after, other)] == [256, 100, 256]


async def test_a_model_that_became_slow_is_left_out_and_gets_another_chance():
    world = World()
    world.anthropic.behaves = {"claude-3-haiku": replies(latency_ms=20_000)}
    router = world.router()
    await router.bound(CONTEXT).complete(says("Hello"))
    assert (await router.bound(CONTEXT).complete(says("Hello"))).model == "gpt-3.5-turbo"
    world.clock.now += 3_600
    assert (await router.bound(CONTEXT).complete(says("Hello"))).model == "claude-3-haiku"


async def test_a_conversation_stays_on_the_model_whose_provider_has_its_prefix():
    world = World()
    turbo = world.models["gpt-3.5-turbo"]
    cheap_cache = replace(turbo, context=100_000, rates=replace(turbo.rates, cached=10))  # type: ignore[type-var]
    world.models = {**world.models, turbo.name: cheap_cache}
    router = world.router()
    history = (ChatMessage("system", "rule " * 6_000),)
    world.anthropic.behaves = {"claude-3-haiku": fails("cool_down", "http_429", retry_after_s=1.0)}
    answer = ProviderReply("ok", (), Usage(6_004, 0, 0, 20), "stop", 50)
    world.openai.behaves = {"gpt-3.5-turbo": answer}
    first = await router.bound(CONTEXT).complete(ChatRequest("fast", history, max_tokens=50))
    world.clock.now += 2
    longer = ChatRequest("fast", (*history, ChatMessage("user", "and now?")), max_tokens=50)
    decision = router.decide(longer, CONTEXT)
    assert first.model == "gpt-3.5-turbo"
    assert decision.chosen is not None
    assert decision.chosen.model.name == "gpt-3.5-turbo"
    assert decision.chosen.estimated.cached_text_tokens == 6_004
    assert "stays on it" in decision.reasoning
    elsewhere = router.decide(longer, replace(CONTEXT, conversation_id="d")).chosen
    unwilling = router.decide(longer, replace(CONTEXT, sticky=False)).chosen
    assert elsewhere is not None
    assert unwilling is not None
    assert (elsewhere.model.name, unwilling.model.name) == ("claude-3-haiku", "claude-3-haiku")
    world.clock.now += 600  # the provider has forgotten it
    later = router.decide(longer, CONTEXT).chosen
    assert later is not None
    assert later.model.name == "claude-3-haiku"


async def test_fifty_calls_of_five_cents_at_once_spend_at_most_a_dollar():
    world = World()
    world.profiles = {"powerful": replace(POWERFUL, primary=("gpt-4",), fallback=())}
    world.openai.wait = asyncio.Event()
    world.openai.behaves = {"gpt-4": replies(input=5, output=831)}
    purse = Purse(1_000_000)
    bound = world.router().bound(CONTEXT)
    asked = says("Hello", profile="powerful", max_tokens=831, budget=purse)
    calls = [asyncio.ensure_future(bound.complete(asked)) for _ in range(50)]
    await asyncio.sleep(0.01)
    world.openai.wait.set()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    done = [each for each in ended if not isinstance(each, BaseException)]
    assert len(done) == 19  # of 50,010 micro-dollars each
    refused = [each for each in ended if isinstance(each, BaseException)]
    assert all(isinstance(each, OverBudget) and each.held and each.attempts for each in refused)
    assert (purse.held, purse.spent, purse.spent + purse.left) == (0, sum(each.cost_micro_usd for each in done), 1_000_000)


async def test_what_the_budget_refuses_a_cheaper_model_may_do():
    world = World()
    world.profiles = {"balanced": replace(BALANCED, primary=("gpt-4-turbo",), fallback=("gpt-4", "claude-3-sonnet"))}
    reply = await world.router().bound(CONTEXT).complete(says("Hello", profile="balanced", budget=Purse(70_000)))
    assert [(each.model, each.outcome) for each in reply.attempts] == [("gpt-4-turbo", "over_budget"), ("claude-3-sonnet", "ok")]


@pytest.mark.parametrize("ending", [fails(), fails(usage=Usage(5, 0, 0, 10)), replies()])
async def test_nothing_stays_reserved_however_a_try_ends(ending):
    world = World()
    world.openai.behaves = world.anthropic.behaves = dict.fromkeys(DOWN, ending)
    purse = Purse(1_000_000)
    await asyncio.gather(world.router().bound(CONTEXT).complete(says("Hello", budget=purse)), return_exceptions=True)
    assert purse.held == 0


async def test_a_call_that_was_given_up_is_booked_as_estimated_and_its_timeout_stays_a_timeout():
    world = World()
    world.anthropic.wait = asyncio.Event()
    purse = Purse(1_000_000)
    bound = world.router().bound(CONTEXT)
    seen: list[BaseException] = []

    async def call() -> None:
        try:
            await bound.complete(says("Hello", budget=purse))
        except asyncio.CancelledError as cancelled:
            seen.append(cancelled)
            raise

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await call()
    [attempt] = attempts_of(seen[0])
    assert (attempt.outcome, attempt.cost_micro_usd) == ("cancelled", attempt.estimated_cost_micro_usd)
    assert (purse.held, purse.spent) == (0, attempt.cost_micro_usd)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), callers=st.integers(2, 12), rounds=st.integers(2, 25))
async def test_an_open_breaker_is_never_called_but_as_the_one_probe(seed, callers, rounds):
    """Many callers at once, failures at random, time passing: whoever is asked was closed, or is the only one asked."""
    from random import Random

    random, world = Random(seed), World()
    router = world.router()
    inside: dict[str, int] = {}

    class Watching:
        name = "openai"

        async def complete(self, model, request):
            state = router.health.states()[model.name]
            assert state != "open"
            inside[model.name] = inside.get(model.name, 0) + 1
            probing = state == "half_open"
            if probing:
                probes[model.name] = probes.get(model.name, 0) + 1
                assert probes[model.name] == 1
            try:
                for _ in range(random.randrange(4)):
                    await asyncio.sleep(0)
                if random.random() < 0.7:
                    raise fails()
                return replies()
            finally:
                inside[model.name] -= 1
                if probing:
                    probes[model.name] -= 1

    probes: dict[str, int] = {}
    router.providers = {"openai": Watching(), "anthropic": Watching()}

    async def caller():
        for _ in range(rounds):
            await asyncio.gather(router.bound(CONTEXT).complete(says("Hello")), return_exceptions=True)
            world.clock.now += random.choice((0.0, 1.0, 30.0, 61.0))

    outcomes = await asyncio.gather(*(caller() for _ in range(callers)), return_exceptions=True)
    assert outcomes == [None] * callers
