"""What a policy costs and yields for every share of calls it sends to the strong model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.router.evaluation.difficulty import Floats

Chosen = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Stakes:
    """What each prompt's answer is worth and costs, by the model that gives it. Arrays of one length."""

    strong: Floats
    weak: Floats
    strong_cost: Floats
    """In micro-dollars; a rate of costs is what is made of them, no bill."""
    weak_cost: Floats

    def at(self, which: NDArray[np.intp]) -> Stakes:
        return Stakes(self.strong[which], self.weak[which], self.strong_cost[which], self.weak_cost[which])

    def quality(self, chosen: Chosen) -> float:
        return float(np.where(chosen, self.strong, self.weak).mean())

    def cost(self, chosen: Chosen) -> float:
        return float(np.where(chosen, self.strong_cost, self.weak_cost).sum())


def threshold_for(scores: Floats, stakes: Stakes, target: float) -> float:
    """The highest score from which on prompts must go to the strong model for a mean quality of `target`.

    inf: none need to; -inf: all, and even that may not be enough.
    """
    order = np.argsort(-scores, kind="stable")
    gained = np.concatenate(([0.0], np.cumsum((stakes.strong - stakes.weak)[order])))
    quality = stakes.weak.mean() + gained / len(scores)
    ranked = scores[order]
    # A threshold cannot part equal scores: only the ends of their runs count.
    ends = np.concatenate(([True], ranked[1:] != ranked[:-1], [True]))
    reached = np.flatnonzero((quality >= target - 1e-12) & ends)
    if not len(reached):
        return -np.inf
    first = int(reached[0])
    return np.inf if first == 0 else float(ranked[first - 1])


def perfect(stakes: Stakes, target: float) -> Chosen:
    """What an oracle sends to the strong model: only where it gains, most for its money first, until the target is reached."""
    gain = stakes.strong - stakes.weak
    worth = np.where(gain > 0, gain / np.maximum(stakes.strong_cost - stakes.weak_cost, 1e-9), -np.inf)
    order = np.argsort(-worth, kind="stable")
    order = order[gain[order] > 0]
    quality = stakes.weak.mean() + np.concatenate(([0.0], np.cumsum(gain[order]))) / len(gain)
    reached = np.flatnonzero(quality >= target - 1e-12)
    chosen = np.zeros(len(gain), dtype=bool)
    chosen[order[: int(reached[0]) if len(reached) else len(order)]] = True
    return chosen


def random_share(stakes: Stakes, target: float) -> float:
    """The share of calls sent to the strong model at random that has a mean quality of `target`, 0..1."""
    weak, strong = float(stakes.weak.mean()), float(stakes.strong.mean())
    if weak >= target:
        return 0.0
    return min(1.0, (target - weak) / (strong - weak)) if strong > weak else 1.0
