"""`hil knowledge`: documents that agents may look up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from connectors.cli.ports import CannotGoOn
from connectors.embeddings import configured_embedder
from connectors.postgres.knowledge import KnowledgeStore
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


async def _add(store: KnowledgeStore, path: str) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotGoOn(f"cannot read {path}: {error}. Give Markdown or text files in UTF-8.") from error
    added = await store.add(Path(path).name, text)
    return {"id": added.document_id, "title": added.title, "chunks": added.chunks}
