"""What the router adds to a call: 40 candidates, prompts of 2 kB, none seen before. `python -m bench.router_bench`, ten seconds.

Beside it a loop that only counts the text tokens of the same prompts for the same models; the difference is the router's own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import quantiles
from typing import Any

from agents.ports import ChatMessage, ChatRequest, Usage
from agents.router.catalogue import Catalogue
from agents.router.models import Model
from agents.router.ports import Delta, ProviderReply
from agents.router.profiles import Profile, Weights
from agents.router.request import CallContext
from agents.router.router import Router
from agents.router.tokens import TokenCounter
from bench.tables import Table

MODELS, PROMPT_BYTES = 40, 2_048
WORDS = (
    "order parcel refund the a my was not and when where please help delivery return since two days broken late invoice",
    "address changed wrong colour size shirt kettle because although tracking number says tomorrow twice paid again service",
)


class AtOnce:
    """A provider that answers without being asked."""

    name = "any"
    _reply = ProviderReply("ok", (), Usage(500, 0, 0, 100), "stop", 800)

    async def complete(self, model: Model, request: ChatRequest) -> ProviderReply:
        return self._reply

    async def stream(self, model: Model, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        yield Delta(reply=self._reply)


@dataclass(frozen=True)
class Offer:
    models: Mapping[str, Model]
    profiles: Mapping[str, Profile]
    unpriced: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, str | None] = field(default_factory=dict)


def offer() -> Offer:
    """Forty models: the catalogue's, again under other names until there are enough; all of them in one profile."""
    known = list(Catalogue.load().models.values())
    models: dict[str, Model] = {}
    for at in range(MODELS):
        model = known[at % len(known)]
        name = model.name if at < len(known) else f"{model.name}-{at // len(known)}"
        models[name] = replace(model, name=name, provider=model.provider)
    names = tuple(models)
    weights = Weights(latency=0.33, cost=0.33, quality=0.34)
    return Offer(models, {"all": Profile("all", names[:20], names[20:], 1_000_000, 3_000, weights)})


def prompts(count: int, seed: int) -> list[str]:
    rng, made, words = random.Random(seed), [], " ".join(WORDS).split()
    for at in range(count):
        text = f"{at} "
        while len(text) < PROMPT_BYTES:
            text += rng.choice(words) + " "
        made.append(text[:PROMPT_BYTES])
    return made


def counting(models: Sequence[Model], texts: Sequence[str]) -> list[float]:
    """Microseconds a prompt to count it for every model, and nothing else."""
    counter, spent = TokenCounter(), []
    counter.warm(models)
    for text in texts:
        messages = (ChatMessage("user", text),)
        began = time.perf_counter_ns()
        for model in models:
            counter.count_request(model, messages, (), None)
        spent.append((time.perf_counter_ns() - began) / 1000)
    return spent


async def counted(offered: Offer, texts: Sequence[str]) -> list[float]:
    return counting(list(offered.models.values()), texts)


async def routing(offered: Offer, texts: Sequence[str], *, whole: bool) -> list[float]:
    """Microseconds a prompt to decide; to decide, ask a provider that answers at once, and note it all, when `whole`."""
    counter, spent = TokenCounter(), []
    counter.warm(offered.models.values())
    router = Router(offered, {model.provider: AtOnce() for model in offered.models.values()}, counter)
    for at, text in enumerate(texts):
        request = ChatRequest("all", (ChatMessage("user", text),), max_tokens=500)
        context = CallContext(conversation_id=f"c{at % 100}", workflow="w", node_id="n")
        bound = router.bound(context)
        began = time.perf_counter_ns()
        if whole:
            await bound.complete(request)
        else:
            router.decide(request, context)
        spent.append((time.perf_counter_ns() - began) / 1000)
    return spent


async def measured(rounds: int, each: int) -> Table:
    """Rounds of the three, in turn: what else the machine does meets all of them."""
    offered, table = offer(), Table("router", f"what the router adds, {MODELS} candidates, prompts of {PROMPT_BYTES} bytes")
    runs: dict[str, Callable[[Sequence[str]], Awaitable[list[float]]]] = {
        "count alone": lambda texts: counted(offered, texts),
        "decide": lambda texts: routing(offered, texts, whole=False),
        "decide, ask, note": lambda texts: routing(offered, texts, whole=True),
    }
    spent: dict[str, list[list[float]]] = {name: [] for name in runs}
    gc.collect()
    gc.freeze()
    for at in range(rounds):
        texts = prompts(each, at)
        for name, run in runs.items():
            spent[name].append(await run(texts))
    base = [time for times in spent["count alone"] for time in times]
    for name, rows in spent.items():
        times = [time for row in rows for time in row]
        own = [time - alone for time, alone in zip(times, base, strict=True)]
        row = {"run": name, "p50_us": _at(times, 50), "p99_us": _at(times, 99)}
        if name != "count alone":
            row |= {"added_p50_us": _at(own, 50), "added_p99_us": _at(own, 99)}
        table.add(**row)
    added = table.rows[1]
    table.say(
        f"a decision adds {added['added_p50_us']:.0f} µs (p50) and {added['added_p99_us']:.0f} µs (p99); bars: 150 and 1,000"
    )
    return table


def _at(values: Sequence[float], percent: int) -> float:
    return round(quantiles(values, n=100, method="inclusive")[percent - 1], 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.router_bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--each", type=int, default=600, help="prompts a round")
    given = parser.parse_args()
    table = asyncio.run(measured(given.rounds, given.each))
    table.show()
    table.keep()


if __name__ == "__main__":
    main()
