"""Microseconds to encode and to decode each event type, in both encodings: `python bench/codec_bench.py`. A few seconds."""

from __future__ import annotations

import timeit
from collections.abc import Callable
from pathlib import Path

from schemas.codec import Encoding, decode, decode_inbound, encode, encoding_of
from schemas.codec.registry import current, event_types
from schemas.events import InboundMessage

GOLDEN = Path(__file__).parent.parent / "tests" / "unit" / "schemas" / "golden"
ENCODINGS: tuple[Encoding, ...] = ("avro", "json")
ROUNDS, CALLS = 5, 1_000


def microseconds(call: Callable[[], object]) -> float:
    """Of the best round: what else the machine does only adds."""
    return min(timeit.repeat(call, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def main() -> None:
    columns = "".join(f" | {encoding + ' bytes':>10}{'encode µs':>11}{'decode µs':>11}" for encoding in ENCODINGS)
    print(f"{'type':<24}{'default':>8}{columns}")
    for kind, model in event_types().items():
        read = decode_inbound if model is InboundMessage else decode
        golden = GOLDEN / f"{kind}.{current(model).fingerprint.hex()}.avro"
        event = read(golden.read_bytes(), ())
        cells = ""
        for encoding in ENCODINGS:
            value, headers = encode(event, encoding=encoding)
            encoding_us = microseconds(lambda event=event, encoding=encoding: encode(event, encoding=encoding))
            decoding_us = microseconds(lambda read=read, value=value, headers=headers: read(value, headers))
            cells += f" | {len(value):>10}{encoding_us:>11.1f}{decoding_us:>11.1f}"
        print(f"{kind:<24}{encoding_of(model):>8}{cells}")


if __name__ == "__main__":
    main()
