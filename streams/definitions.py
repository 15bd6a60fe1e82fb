"""The published workflows, as every processor knows them: fed from `workflow.definitions`, asked by name or by digest."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from schemas.events import WorkflowPublished
from schemas.topics import TASK_TOPICS
from schemas.workflow.definition import WorkflowDefinition
from schemas.workflow.loading import as_draft
from streams.core.graph import Graph, compile_graph
from streams.workflows.structure import structure_faults
from streams.workflows.subject import Subject


class UnknownWorkflow(LookupError):
    """No published workflow has this name or version."""


class Unusable(ValueError):
    """What was published is no workflow that can run here."""


Look = Callable[[], Awaitable[None]]
"""Returns once everything that had been published when it was called has been taken in."""

PATIENCE_S = 10.0
"""How long a record may wait for the definition it names, where nobody can say whether there is one."""
LOOK_AGAIN_S = 0.5


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
        self.look: Look | None = None
        """Whoever stamped a record with a digest had read the definition, so a look tells whether there is one.

        Without it a record waits for `PATIENCE_S`."""
        self._by_digest: dict[str, Workflow] = {}
        self._newest: dict[tuple[str, str], Workflow] = {}
        self._changed = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def add(self, published: WorkflowPublished, *, key: bytes | None = None) -> None:
        """Take in a version. Raises Unusable when it could not run, or when it is not what it says it is.

        `key`: of the record it came in, which must be its own.
        """
        if key is not None and key != published.key.encode():
            raise Unusable(f"its key is not its name and digest, {published.key[:200]!r}")
        workflow = compiled(published)
        self._by_digest[published.digest] = workflow
        self.graphs[published.digest] = workflow.graph
        self._newest[(published.name, published.version)] = workflow
        self._changed.set()
        self._changed = asyncio.Event()

    async def arrival(self, digest: str, *, patience_seconds: float = PATIENCE_S) -> Workflow | None:
        """The version with this digest; None when there is none, or when nobody can say so in time."""
        if digest not in self._by_digest:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_seconds):
                    while digest not in self._by_digest and not await self._looked():
                        pass
        return self._by_digest.get(digest)

    async def _looked(self) -> bool:
        """Whether all that had been published when this was called is known now. False: nobody can say, look again."""
        if self.look is None:
            await self._changed.wait()
            return False
        if self._looking is not None:  # it began before this was called: it may have seen too little
            await asyncio.wait((self._looking,))
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(_once(self.look))
        await asyncio.wait((looking := self._looking,))
        if looking.cancelled() or looking.exception() is not None:
            await asyncio.sleep(LOOK_AGAIN_S)  # the broker is not there for the moment
            return False
        return True

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


SEMVER = re.compile(r"(?=.{1,128}\Z)[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]*)?(\+[0-9A-Za-z.-]*)?")


async def _once(look: Look) -> None:
    await look()


def semver_key(version: str) -> tuple[Any, ...]:
    """Order of SemVer 2.0.0, section 11: a pre-release comes before its release. What is no version comes before all."""
    if not SEMVER.fullmatch(version):
        return (-1,)
    core, _, pre = version.partition("+")[0].partition("-")
    numbers = tuple(int(part) for part in core.split("."))
    identifiers = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")) if pre else ()
    return (*numbers, 0 if pre else 1, identifiers)


def published(definition: WorkflowDefinition, source: str, agent_types: Mapping[str, str], *, at_ms: int) -> WorkflowPublished:
    """The event that makes a definition known. Its digest covers what the definition means, not how it is written."""
    used = {node.agent: agent_types[node.agent] for node in definition.workflow.nodes}
    body = definition.model_dump(mode="json", by_alias=True, exclude_unset=True)
    digest = digest_of(body, used)
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


def digest_of(body: Any, agent_types: Mapping[str, str]) -> str:
    """Of a definition as it is published."""
    written = json.dumps([body, dict(agent_types)], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(written.encode()).hexdigest()


def compiled(published: WorkflowPublished) -> Workflow:
    """A published version ready to run. Raises Unusable, in words, for everything that could not run, or is not what it says."""
    try:
        if digest_of(published.definition, published.agent_types) != published.digest:
            raise Unusable(f"its digest, {published.digest[:70]!r}, is not that of its definition")
        definition = WorkflowDefinition.model_validate(published.definition)
        if (definition.name, definition.version) != (published.name, published.version):
            raise Unusable(f"it says that it is {published.name[:200]!r} {published.version[:70]!r}, which its definition is not")
        for node in definition.workflow.nodes:
            if published.agent_types.get(node.agent) not in TASK_TOPICS:
                raise Unusable(f"nobody works on tasks of the agent {node.agent[:200]!r} of the node {node.id!r}")
        for fault in structure_faults(Subject(as_draft(definition))):
            if fault.severity == "error":
                raise Unusable(fault.message)
        return Workflow(published, definition, compile_graph(definition, published.agent_types, published.digest))
    except Unusable:
        raise
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Unusable(f"{'.'.join(map(str, first['loc']))[:200]}: {first['msg'][:300]}") from error
    except Exception as error:  # whatever stands there, it is one definition that cannot run
        raise Unusable(f"{type(error).__name__}: {str(error)[:300]}") from error
