"""The encodings that are shipped, loaded when first needed. A table that cannot be used is told of once, then done without."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Protocol

from agents.router.tokens.ranks import DamagedRanks, unpack

log = logging.getLogger(__name__)

DEFAULT = "o200k_base"
"""For texts of models whose encoding nobody publishes."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """What there is to know of a packed table."""

    count: int
    sha256: str
    """Of the packed file."""
    published_sha256: str
    """Of the `.tiktoken` file it was made from, as tiktoken pins it."""
    pattern: str
    """How a text is cut into pieces before pairs are merged, as tiktoken has it: part of the encoding."""


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"

SHIPPED = {
    "cl100k_base": Shipped(
        count=100_256,
        sha256="119e0f78f31a2e2c32ed4a5d6728ae04bb294c7a4f583d78da4c35ba512e9a36",
        published_sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern=(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
            r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
        ),
    ),
    "o200k_base": Shipped(
        count=199_998,
        sha256="651ec77316f64b858e6cbec935bbd4d8a6c8959a51be08e5c5675bdd31cfd824",
        published_sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern="|".join(
            (
                rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}",
                rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}",
                r"\p{N}{1,3}",
                r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                r"\s*[\r\n]+",
                r"\s+(?!\S)",
                r"\s+",
            )
        ),
    ),
}
_SAME_TEXT = {"o200k_harmony": "o200k_base"}
"""Encodings that differ from a shipped one in special tokens alone, which are ordinary text to us."""


class Encoding(Protocol):
    """What is used of tiktoken.Encoding."""

    def encode_ordinary(self, text: str) -> list[int]: ...


def packed(name: str) -> bytes:
    """The file as shipped. Raises FileNotFoundError."""
    return files("agents.router.tokens").joinpath("data", f"{name}.ranks.xz").read_bytes()


@cache
def encoding(name: str, read: Callable[[str], bytes] = packed) -> Encoding | None:
    """The encoding of that name; None when its table cannot be used. Half a second the first time, then at hand."""
    import tiktoken

    shipped = SHIPPED[name]
    try:
        ranks = unpack(read(name), count=shipped.count, sha256=shipped.sha256)
    except (OSError, DamagedRanks) as error:
        log.warning(
            "text tokens are guessed at 4 characters each: the rank table of %s cannot be used (%s). Install hil-agents again.",
            name,
            error,
        )
        return None
    return tiktoken.Encoding(name, pat_str=shipped.pattern, mergeable_ranks=ranks, special_tokens={})


def encoding_name(model: str) -> str | None:
    """The shipped encoding that tiktoken lists for a model's name; None when it lists none or another."""
    from tiktoken.model import encoding_name_for_model

    try:
        name = encoding_name_for_model(model)
    except KeyError:
        return None
    name = _SAME_TEXT.get(name, name)
    return name if name in SHIPPED else None


def warm(names: Iterable[str]) -> None:
    """Load these now, so that no call has to wait for it."""
    for name in names:
        encoding(name)
