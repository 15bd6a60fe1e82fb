"""`hil knowledge`: documents that agents may look up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from connectors.cli.ports import CannotGoOn
from connectors.embeddings import configured_embedder
from connectors.postgres.knowledge import MAX_BYTES, KnowledgeStore, is_binary
from connectors.postgres.pool import open_pool


@asynccontextmanager
async def knowledge_store(database_url: str, environ: Mapping[str, str]) -> AsyncIterator[KnowledgeStore]:
    async with await open_pool(database_url) as pool:
        yield KnowledgeStore(pool, configured_embedder(environ))


async def knowledge(
    database_url: str,
    environ: Mapping[str, str],
    action: Literal["add", "list", "search", "remove"],
    arguments: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Rows for the terminal: documents with `id`, `title`, `chunks`; search hits with `title`, `text`, `score`."""
    async with knowledge_store(database_url, environ) as store:
        match action:
            case "add":
                return [await _add(store, path) for path in arguments["files"]]
            case "list":
                return [{"id": d.document_id, "title": d.title, "chunks": d.chunks} for d in await store.documents()]
            case "remove":
                return [{"id": arguments["name"], "removed": await store.remove(arguments["name"])}]
            case "search":
                hits = await store.search(arguments["query"], top_k=arguments["top_k"])
                return [{"title": hit.title, "text": hit.text, "score": hit.score} for hit in hits]


def read_document(path: Path) -> str:
    """The text of a file. Raises CannotGoOn for what is no text or longer than a document may be; reads no more than that."""
    try:
        if not path.is_file():  # a pipe or a device may never end
            raise CannotGoOn(f"cannot read {path}: it is no file. Give Markdown or text files in UTF-8.")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig") if len(content) <= MAX_BYTES else ""
    except (OSError, UnicodeDecodeError) as error:
        raise CannotGoOn(f"cannot read {path}: {error}. Give Markdown or text files in UTF-8.") from error
    if len(content) > MAX_BYTES:
        raise CannotGoOn(f"{path} has {path.stat().st_size:,} bytes, and a document at most {MAX_BYTES:,}: split it.")
    if is_binary(text):
        raise CannotGoOn(f"{path} is no text: give Markdown or text files, not a PDF, an image or an archive.")
    return text


async def _add(store: KnowledgeStore, path: str) -> dict[str, Any]:
    added = await store.add(Path(path).name, read_document(Path(path)))
    return {"id": added.document_id, "title": added.title, "chunks": added.chunks}
