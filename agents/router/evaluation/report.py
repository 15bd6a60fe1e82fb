"""Quality and cost of each policy at each quality target, thresholds chosen without the prompts they are judged on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.router.evaluation.curves import Chosen, Stakes, perfect, random_share, threshold_for
from agents.router.evaluation.difficulty import Floats, learn
from agents.router.evaluation.outcomes import Outcome, places

FOLDS = 5


def evaluate(
    outcomes: Sequence[Outcome], stakes: Stakes, features: Floats, lengths: Floats, targets: Sequence[int]
) -> dict[str, Any]:
    """`features`: (prompts, n), what the router's policy learns from; `lengths`: text tokens; `targets`: % of strong quality.

    Each policy that scores prompts is judged on a fifth of them at a time, with a threshold (and, for the router's, a predictor)
    from the other four.
    """
    place = np.array(places(outcomes), dtype=np.intp)
    parts = [np.flatnonzero(place % FOLDS == part) for part in range(FOLDS)]
    gains = stakes.strong - stakes.weak
    learned = _Scores(features, gains, place, parts)
    plain = _Plain(lengths, parts)
    everything, nothing = np.ones(len(outcomes), dtype=bool), np.zeros(len(outcomes), dtype=bool)
    return {
        "prompts": len(outcomes),
        "folds": len(parts),
        "always_strong": _row(stakes, everything),
        "always_weak": _row(stakes, nothing),
        "oracle": _row(stakes, gains > 0),
        "targets": [_target(percent, stakes, learned, plain) for percent in targets],
    }


class _Plain:
    """Scores that need no learning."""

    def __init__(self, scores: Floats, parts: Sequence[Any]) -> None:
        self._scores, self._parts = scores, parts

    def all(self) -> Floats:
        return self._scores

    def chosen(self, stakes: Stakes, share: float) -> Chosen:
        """Each part by the threshold that gives `share` of strong quality on the others."""
        chosen = np.zeros(len(self._scores), dtype=bool)
        for part in self._parts:
            rest = np.setdiff1d(np.arange(len(self._scores)), part)
            known, there = self.split(part, rest)
            others = stakes.at(rest)
            chosen[part] = there >= threshold_for(known, others, share * float(others.strong.mean()))
        return chosen

    def split(self, part: Any, rest: Any) -> tuple[Floats, Floats]:
        """(scores of the rest, to choose a threshold by; scores of the part, to be judged)."""
        return self._scores[rest], self._scores[part]


class _Scores(_Plain):
    """The router's: what the strong model is expected to gain, learned from the rest."""

    def __init__(self, features: Floats, gains: Floats, places: Any, parts: Sequence[Any]) -> None:
        self._split: dict[int, tuple[Floats, Floats]] = {}
        scores = np.zeros(len(gains))
        for part in parts:
            rest = np.setdiff1d(np.arange(len(gains)), part)
            learned = learn(features[rest], gains[rest], places[rest])
            there = learned.gain.predict(features[part])
            self._split[int(part[0])] = learned.held_out, there
            scores[part] = there
        super().__init__(scores, parts)

    def split(self, part: Any, rest: Any) -> tuple[Floats, Floats]:
        return self._split[int(part[0])]


def _target(percent: int, stakes: Stakes, learned: _Plain, plain: _Plain) -> dict[str, Any]:
    share = percent / 100
    target = share * float(stakes.strong.mean())
    routed = learned.chosen(stakes, share)
    return {
        "percent_of_strong_quality": percent,
        "router": {
            "held_out": _row(stakes, routed, target),
            "hindsight": _row(stakes, learned.all() >= threshold_for(learned.all(), stakes, target), target),
        },
        "length_rule": {
            "held_out": _row(stakes, plain.chosen(stakes, share), target),
            "hindsight": _row(stakes, plain.all() >= threshold_for(plain.all(), stakes, target), target),
        },
        "random": {
            "same_mix_as_router": _random(stakes, float(routed.mean()), target),
            "hindsight": _random(stakes, random_share(stakes, target), target),
        },
        "oracle": _row(stakes, perfect(stakes, target), target),
        "always_weak": _row(stakes, np.zeros(len(routed), dtype=bool), target),
        "always_strong": _row(stakes, np.ones(len(routed), dtype=bool), target),
    }


def _row(stakes: Stakes, chosen: Chosen, target: float | None = None) -> dict[str, Any]:
    return _figures(stakes, stakes.quality(chosen), stakes.cost(chosen), float(chosen.mean()), target)


def _random(stakes: Stakes, share: float, target: float) -> dict[str, Any]:
    """The mean of all ways to send `share` of the calls to the strong model."""
    quality = float(stakes.weak.mean()) + share * float(stakes.strong.mean() - stakes.weak.mean())
    cost = float(stakes.weak_cost.sum()) + share * float(stakes.strong_cost.sum() - stakes.weak_cost.sum())
    return _figures(stakes, quality, cost, share, target)


def _figures(stakes: Stakes, quality: float, cost: float, share: float, target: float | None) -> dict[str, Any]:
    best, dearest = float(stakes.strong.mean()), float(stakes.strong_cost.sum())
    made: dict[str, Any] = {
        "quality_percent": round(100 * quality, 3),
        "percent_of_strong_quality": round(100 * quality / best, 3) if best else 100.0,
        "cost_percent_of_strong": round(100 * cost / dearest, 3) if dearest else 100.0,
        "strong_share_percent": round(100 * share, 3),
    }
    return made if target is None else {**made, "reached": quality >= target - 1e-12}
