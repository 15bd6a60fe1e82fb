"""MessagePack arrays that stand for structs, field by field.

Where all fields have defaults, msgspec reads even `[]`, which nobody wrote.
"""

from __future__ import annotations

_SMALL, _LONG = 0x90, 0xDC


def whole(data: bytes, least: int) -> bytes:
    """`data`, when it is an array of at least `least` elements: as many as the first version of its writer wrote.

    Raises ValueError for anything else.
    """
    head = data[0] if data else 0
    size = head & 15 if head & 0xF0 == _SMALL else int.from_bytes(data[1:3], "big") if head == _LONG else -1
    if size < least:
        raise ValueError(f"an array of at least {least} fields is expected" + (f", it has {size}" if size >= 0 else ""))
    return data
