"""Rank tables of byte-pair encodings, packed into the repository: so that nothing is fetched when a text is counted.

A packed table is xz over one byte of length for each token, in the order of ranks, and then all tokens' bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import lzma
from collections.abc import Sequence

LONGEST = 255


class DamagedRanks(ValueError):
    """A packed rank table is not what was shipped, or a rank file is not one. The message says which."""


def pack(tokens: Sequence[bytes]) -> bytes:
    """`tokens` in the order of their ranks, the first of rank 0. Raises DamagedRanks for a token that is empty or too long."""
    if not all(0 < len(token) <= LONGEST for token in tokens):
        raise DamagedRanks(f"a token is empty or longer than {LONGEST} bytes: this form cannot hold it")
    plain = bytes(len(token) for token in tokens) + b"".join(tokens)
    return lzma.compress(plain, preset=9 | lzma.PRESET_EXTREME)


def unpack(packed: bytes, *, count: int, sha256: str) -> dict[bytes, int]:
    """Token → rank. Raises DamagedRanks when `packed` has another checksum or does not hold `count` tokens."""
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise DamagedRanks("its checksum is not the one it was shipped with")
    plain = lzma.decompress(packed)
    ranks: dict[bytes, int] = {}
    start = count
    for rank in range(count):
        end = start + plain[rank]
        ranks[plain[start:end]] = rank
        start = end
    if start != len(plain) or len(ranks) != count:
        raise DamagedRanks(f"it does not hold {count} tokens")
    return ranks


def read_tiktoken(text: bytes) -> list[bytes]:
    """The tokens of a `.tiktoken` file: lines of base64 and rank, ranks without a gap. Raises DamagedRanks."""
    tokens: list[bytes] = []
    for number, line in enumerate(text.splitlines()):
        encoded, _, rank = line.partition(b" ")
        if rank != str(number).encode():
            raise DamagedRanks(f"line {number + 1} has rank {rank!r} where {number} was expected")
        try:
            tokens.append(base64.b64decode(encoded, validate=True))
        except binascii.Error as error:
            raise DamagedRanks(f"line {number + 1} is not base64") from error
    return tokens


def write_tiktoken(tokens: Sequence[bytes]) -> bytes:
    """The `.tiktoken` file of these tokens, byte for byte as it is published."""
    return b"".join(b"%b %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens))
