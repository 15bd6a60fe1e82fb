"""The tools of one node over Composio: declared, allowed, with an entity and fitting arguments, or refused in words."""

from __future__ import annotations

import asyncio
import difflib
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from agents.answers import faults
from agents.errors import Fatal, Park, Retryable
from agents.jsonable import shown
from agents.ports import ToolCall, ToolResult, ToolSpec
from connectors.composio.client import ComposioClient, InDoubt, KeyRefused, NotDone, RemoteTool
from schemas.workflow.definition import Node, WorkflowDefinition

log = logging.getLogger(__name__)

_SPEC = re.compile(r"[A-Za-z0-9_\-]+\.(?:\*|[A-Za-z0-9_\-]+)\Z")
MAX_RESULT = 200_000
"""Characters of a tool's data, as JSON, that are handed on."""
DEFAULT_ENTITY = "default"

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Entity:
    """Whose connection an app uses, or why nobody's."""

    id: str = ""
    missing: str = ""


class Toolbox:
    """Narrows the tools of Composio to those of a node. One for the process."""

    def __init__(
        self,
        client: ComposioClient | None,
        *,
        retry_delays: Sequence[float] = (0.25, 1.0),
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._delays, self._sleep, self._clock = client, tuple(retry_delays), sleep, clock

    async def for_node(
        self,
        node: Node,
        definition: WorkflowDefinition,
        input: Mapping[str, Any],
        context: Mapping[str, Any],
    ) -> NodeTools:
        """Whatever the node names, of apps that the workflow declares; `app.*` are that app's declared actions.

        Raises Fatal for a spec that is malformed, of an undeclared app or unknown, Retryable when the tools cannot be listed.
        """
        specs = split_specs(node.config.tool_specs, owner=f"node {node.id}")
        apps = {app.name.lower(): app for app in definition.composio.apps}
        chosen: dict[str, RemoteTool] = {}
        for spec in specs:
            app = apps.get(spec.partition(".")[0])
            if app is None:
                raise Fatal(f"node {node.id}: tool {spec}: its app is not declared. Add it under composio.apps: {_names(apps)}.")
            if self._client is None:
                raise Fatal(
                    f"node {node.id} wants {spec}, and no tools are configured. Set COMPOSIO_API_KEY (and HIL_COMPOSIO_BASE_URL "
                    "for a server of your own), or start with `hil up`, which brings a toy shop."
                )
            known = await self._client.tools(app.name.lower())
            declared = {name: tool for name, tool in known.items() if any(fnmatchcase(name, each.lower()) for each in app.tools)}
            chosen |= _matching(spec, declared, known, node=node.id)
        entities = {name: entity_of(definition, name, input, context) for name in apps}
        return NodeTools(self._client, chosen, entities, delays=self._delays, sleep=self._sleep, clock=self._clock)


class NodeTools:
    """agents.ports.Tools for one node."""

    def __init__(
        self,
        client: ComposioClient | None,
        tools: Mapping[str, RemoteTool],
        entities: Mapping[str, Entity],
        *,
        delays: Sequence[float] = (),
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._tools, self._entities = client, tools, entities
        self._delays, self._sleep, self._clock = delays, sleep, clock
        self._specs = [ToolSpec(each.name, each.description, each.parameters, each.idempotent) for each in tools.values()]

    def specs(self) -> Sequence[ToolSpec]:
        return self._specs

    async def call(self, call: ToolCall) -> ToolResult:
        """Raises Retryable when nothing was done, Park when a tool that must not act twice may have acted."""
        tool = self._tools.get(call.name)
        if tool is None or self._client is None:
            return _refused(f"{call.name!r} is not a tool of this node. Its tools: {_names(self._tools)}.")
        if call.arguments is None:
            return _refused(f"The arguments of {call.name} were not a JSON object. Call it again with one.")
        entity = self._entities.get(tool.name.partition(".")[0], Entity(DEFAULT_ENTITY))
        if not entity.id and not tool.no_auth:
            log.warning("%s was not called: %s", tool.name, entity.missing)
            return _refused(f"{tool.name} cannot be used: {entity.missing}")
        required = tool.parameters.get("required") or ()
        arguments = {name: value for name, value in call.arguments.items() if value is not None or name in required}
        wrong = _wrong(tool, arguments)
        if wrong:
            return _refused(f"The arguments of {tool.name} do not fit: {'; '.join(wrong)}. Mend them and call it again.")
        return await self._execute(self._client, tool, arguments, entity.id or DEFAULT_ENTITY)

    async def _execute(self, client: ComposioClient, tool: RemoteTool, arguments: Mapping[str, Any], entity: str) -> ToolResult:
        """Up to three attempts where a repeat does no harm, one where it might."""
        started = self._clock()
        waits = list(self._delays) if tool.idempotent else []
        while True:
            try:
                done = await client.execute(tool, arguments, entity_id=entity)
            except KeyRefused as error:
                raise Fatal(f"{tool.name}: {error}.") from error
            except NotDone as error:
                if error.final:
                    return ToolResult(False, error=str(error), latency_ms=self._since(started), entity_id=entity)
                if not waits:
                    raise Retryable(
                        f"{tool.name}: {error}. Nothing was done.", retry_after_seconds=error.retry_after_seconds
                    ) from error
                await self._sleep(max(waits.pop(0), min(error.retry_after_seconds or 0.0, 5.0)))
            except InDoubt as error:
                if not tool.idempotent:
                    raise Park(
                        f"{tool.name}: {error}. It may or may not have acted for {entity}. "
                        "Look there, then answer the customer or run the node again.",
                        details={"tool": tool.name, "arguments": dict(arguments), "entity_id": entity},
                    ) from error
                if not waits:
                    raise Retryable(f"{tool.name}: {error}.") from error
                await self._sleep(waits.pop(0))
            else:
                failed = None if done.successful else done.error or f"{tool.name} failed and gave no reason."
                return ToolResult(done.successful, _bounded(done.data), failed, self._since(started), entity)

    def _since(self, started: float) -> int:
        return round((self._clock() - started) * 1000)


def split_specs(specs: Sequence[str], *, owner: str) -> list[str]:
    """`app.action` and `app.*`, from a list whose items may be comma lists. Raises Fatal for a malformed one."""
    parts = [part.strip() for spec in specs for part in spec.split(",") if part.strip()]
    for part in parts:
        if not _SPEC.match(part):
            raise Fatal(f"{owner}: {part!r} is not a tool. Write app.action, or app.* for all actions of the app.")
    return list(dict.fromkeys(part.lower() for part in parts))


def entity_of(definition: WorkflowDefinition, app: str, input: Mapping[str, Any], context: Mapping[str, Any]) -> Entity:
    """The value of the field `entity_id_source` names: from the input, else the context, else the workflow's `entities`."""
    source = next((each.entity_id_source for each in definition.composio.apps if each.name.lower() == app), None)
    names = [source] if source else [app, DEFAULT_ENTITY]
    for values in (input, context, definition.entities) if source else (definition.entities,):
        for name in names:
            value = values.get(name)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
                return Entity(str(value).strip())
    if source is None:
        return Entity(DEFAULT_ENTITY)
    return Entity(
        missing=f"{app} works for the {source} of a message, and this message has none. "
        f"Send {source} with the message or in its context, or give a default under `entities` in the workflow."
    )


def _matching(
    spec: str, declared: Mapping[str, RemoteTool], known: Mapping[str, RemoteTool], *, node: str
) -> dict[str, RemoteTool]:
    app = spec.partition(".")[0]
    if not known:
        raise Fatal(f"node {node}: tool {spec}: Composio knows no app {app!r}. Check its name in composio.apps.")
    if spec.endswith(".*"):
        return dict(declared)
    if spec in known:
        return {spec: known[spec]}
    near = difflib.get_close_matches(spec, known, n=3, cutoff=0.5)
    raise Fatal(f"node {node}: there is no tool {spec}. {app} has: {', '.join(near or sorted(known)[:20])}.")


def _wrong(tool: RemoteTool, arguments: Mapping[str, Any]) -> list[str]:
    try:
        return faults(arguments, tool.parameters, owner=tool.name)
    except Fatal as error:  # the app's own schema is broken: let the app judge the arguments
        log.warning("the arguments of %s are not checked: %s", tool.name, error)
        return []


def _bounded(data: Any) -> Any:
    if len(json.dumps(data)) <= MAX_RESULT:
        return data
    return {"cut": True, "text": shown(data, MAX_RESULT)}


def _refused(why: str) -> ToolResult:
    return ToolResult(success=False, error=why, acted=False)


def _names(known: Mapping[str, object]) -> str:
    return ", ".join(sorted(known)) or "none"
