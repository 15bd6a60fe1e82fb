"""Which documents the knowledge base takes: text, of a size that one document has."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import pytest

from connectors.cli.ports import CannotGoOn
from connectors.postgres.errors import StorageError
from connectors.postgres.knowledge import MAX_BYTES, MAX_CHUNKS, KnowledgeStore
from streams.app.knowledge import read_document


class NoDatabase:
    def __getattr__(self, name: str) -> Any:
        raise AssertionError("what is refused never gets to the database")


@pytest.fixture
def store() -> KnowledgeStore:
    return KnowledgeStore(NoDatabase(), NoDatabase())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("x" * (MAX_BYTES + 1), "has 2,000,001 bytes, and a document at most 2,000,000: split it"),
        ("é" * (MAX_BYTES // 2 + 1), "bytes, and a document at most"),
        ("%PDF-1.7\n\x00\x01binary", "is no text"),
        ("a\x00b", "is no text"),
        ("# h\n\nx\n\n" * (MAX_CHUNKS + 1), "passages, and a document at most 5,000: split it"),
        ("", "has no text to keep"),
        (" \n\n ", "has no text to keep"),
    ],
)
async def test_a_document_that_is_no_text_or_too_much_of_it_is_refused_in_words(store: KnowledgeStore, content: str, why: str):
    with pytest.raises(StorageError, match=why):
        await store.add("file.md", content)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"x" * (MAX_BYTES + 5), "has 2,000,005 bytes, and a document at most 2,000,000: split it"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "UTF-8"),
        (zlib.compress(b"x" * 1000), "UTF-8|is no text"),
        (b"plain\x00text", "is no text"),
        ("héllo".encode("utf-16"), "UTF-8"),
        ("hello".encode("utf-16-le"), "is no text"),
    ],
)
def test_a_file_that_is_no_text_is_refused_in_words(tmp_path: Path, content: bytes, why: str):
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(CannotGoOn, match=why):
        read_document(file)


def test_what_may_never_end_is_not_read(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "nothing"):
        with pytest.raises(CannotGoOn, match="is no file"):
            read_document(path)


def test_a_mark_of_the_byte_order_is_no_part_of_the_text(tmp_path: Path):
    file = tmp_path / "file.md"
    file.write_bytes(b"\xef\xbb\xbf# Returns\n")
    assert read_document(file) == "# Returns\n"
