"""The published workflows, as every processor knows them: fed from `workflow.definitions`, asked by name or by digest."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from schemas.events import WorkflowPublished
from schemas.workflow.definition import WorkflowDefinition
from streams.core.graph import Graph, compile_graph


class UnknownWorkflow(LookupError):
    """No published workflow has this name or version."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """One published version, ready to decide and to act with."""

    published: WorkflowPublished
    definition: WorkflowDefinition
    graph: Graph


class Definitions:
    """Every version ever published, by digest; the newest of a name unless a version is asked for."""

    def __init__(self) -> None:
        self.graphs: dict[str, Graph] = {}
        self._by_digest: dict[str, Workflow] = {}
        self._newest: dict[tuple[str, str], Workflow] = {}
        self._changed = asyncio.Event()

    def add(self, published: WorkflowPublished) -> None:
        """Take in a version. Raises ValueError (pydantic's or ours) when it does not compile."""
        definition = WorkflowDefinition.model_validate(published.definition)
        graph = compile_graph(definition, published.agent_types, published.digest)
        workflow = Workflow(published, definition, graph)
        self._by_digest[published.digest] = workflow
        self.graphs[published.digest] = graph
        self._newest[(published.name, published.version)] = workflow
        self._changed.set()
        self._changed = asyncio.Event()

    async def arrival(self, digest: str, *, patience_seconds: float = 10) -> Workflow | None:
        """The version with this digest, waiting for it to arrive: whoever stamped the digest had read it already."""
        if digest not in self._by_digest:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_seconds):
                    while digest not in self._by_digest:
                        await self._changed.wait()
        return self._by_digest.get(digest)

    def by_digest(self, digest: str) -> Workflow | None:
        return self._by_digest.get(digest)

    def is_newest(self, workflow: Workflow) -> bool:
        """Whether its name and version stand for just this content, and for nobody's later one."""
        published = workflow.published
        return self._newest[(published.name, published.version)].published.digest == published.digest

    def resolve(self, spec: str) -> Workflow:
        """`name` → its highest version that is not deprecated; `name@version` → just that one. Raises UnknownWorkflow."""
        name, _, version = spec.partition("@")
        if version:
            if (name, version) in self._newest:
                return self._newest[(name, version)]
        else:
            candidates = [w for w in self._newest.values() if w.published.name == name and not w.published.deprecated]
            if candidates:
                return max(candidates, key=lambda workflow: semver_key(workflow.published.version))
        raise UnknownWorkflow(self._advice(name, version))

    def _advice(self, name: str, version: str) -> str:
        names = sorted({known for known, _ in self._newest})
        if name in names:
            versions = ", ".join(sorted((v for known, v in self._newest if known == name), key=semver_key))
            if version:
                return f"workflow {name!r} has no version {version!r}: published are {versions}"
            return f"every version of workflow {name!r} is deprecated ({versions}): publish one, or name it as {name}@VERSION"
        close = get_close_matches(name, names, n=3)
        known = f"did you mean {' or '.join(close)}?" if close else f"published are: {', '.join(names) or 'none'}."
        return f"no workflow {name!r} is published: {known} Publish it with `hil workflows publish FILE`"

    def list(self) -> list[Workflow]:
        """The newest digest of every version, by name and version."""
        return sorted(self._newest.values(), key=lambda w: (w.published.name, semver_key(w.published.version)))


def semver_key(version: str) -> tuple[Any, ...]:
    """Order of SemVer 2.0.0, section 11: a pre-release comes before its release."""
    core, _, pre = version.partition("+")[0].partition("-")
    numbers = tuple(int(part) for part in core.split("."))
    identifiers = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")) if pre else ()
    return (*numbers, 0 if pre else 1, identifiers)


def published(definition: WorkflowDefinition, source: str, agent_types: Mapping[str, str], *, at_ms: int) -> WorkflowPublished:
    """The event that makes a definition known. Its digest covers what the definition means, not how it is written."""
    used = {node.agent: agent_types[node.agent] for node in definition.workflow.nodes}
    body = definition.model_dump(mode="json", by_alias=True, exclude_unset=True)
    digest = hashlib.sha256(json.dumps([body, used], sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    return WorkflowPublished(
        id=digest,
        time_ms=at_ms,
        name=definition.name,
        version=definition.version,
        digest=digest,
        source=source,
        definition=body,
        agent_types=used,
        published_ms=at_ms,
    )
