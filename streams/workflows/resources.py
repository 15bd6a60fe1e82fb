"""Faults of what a workflow takes from its surroundings: agents, tools, model profiles; and the schemas it asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from schemas.workflow.definition import Node
from schemas.workflow.faults import Fault, KeyPath, did_you_mean, nearest
from streams.workflows.subject import Subject

TOOL = re.compile(r"^[A-Za-z0-9][\w-]*\.(\*|[A-Za-z0-9][\w-]*)$")
INSTRUCTIONS = {"simple": "prompt_template", "reasoning": "task", "code": "goal", "supervisor": "task"}
ENVIRONMENT = frozenset({"unknown-agent", "unknown-tool", "profile"})
"""Codes of faults that depend on where the workflow runs, not on what its file says."""


ProfileFaults = Callable[[Mapping[str, Any]], Mapping[str, Sequence[str]]]
"""What the router has against `llm_profiles`, by label, one sentence a fault."""


def resource_faults(
    subject: Subject,
    agents: Mapping[str, str],
    tools: Collection[str] | None,
    profiles: Collection[str],
    profile_faults: ProfileFaults | None = None,
) -> Iterator[Fault]:
    """`agents` are names and types; `tools` the known `app.action` names, None when nobody can say; `profiles` the router's."""
    yield from _apps(subject, tools)
    yield from _labels(subject, profiles, profile_faults)
    for path, node in subject.placed_nodes:
        yield from _agent(subject, path, node, agents)
        yield from _tools(subject, path, node, tools)
        yield from _profile(subject, path, node, profiles)
        if node.config.output_schema is not None:
            yield from _schema(subject, (*path, "config", "output_schema"), node.config.output_schema)


def _agent(subject: Subject, path: KeyPath, node: Node, agents: Mapping[str, str]) -> Iterator[Fault]:
    if not node.agent:
        if all(fault.path != (*path, "agent") for fault in subject.draft.faults):  # else it has been said
            message = f"`{node.id}` has no agent"
            yield subject.error((*path, "agent"), message, did_you_mean("", sorted(agents)), "unknown-agent")
        return
    kind = agents.get(node.agent)
    if kind is None:
        message = f"the agent `{node.agent}` of `{node.id}` is not registered"
        yield subject.error((*path, "agent"), message, did_you_mean(node.agent, sorted(agents)), "unknown-agent")
    given = [key for key in ("prompt_template", "task", "goal") if getattr(node, key)]
    wanted = INSTRUCTIONS.get(kind or "")
    if not given:
        message = f"nothing tells `{node.id}` what to do"
        yield subject.warning(path, message, f"add `{wanted or 'prompt_template'}:`", "instruction")
    elif len(given) > 1:
        message = f"`{node.id}` has {' and '.join(f'`{key}`' for key in given)}, and only `{given[0]}` is used"
        yield subject.warning((*path, given[1]), message, f"keep one, `{wanted or given[0]}`", "instruction")
    elif wanted and given[0] != wanted:
        message = f"`{node.agent}` is a {kind} agent, whose instruction is called `{wanted}`"
        yield subject.warning((*path, given[0]), message, f"write `{wanted}:` instead of `{given[0]}:`", "instruction")
    if kind == "simple" and node.config.tool_specs:
        message = f"`{node.agent}` is a simple agent and calls no tools"
        yield subject.warning((*path, "config"), message, "remove the tools, or use a reasoning or code agent", "tools-unused")


def _apps(subject: Subject, tools: Collection[str] | None) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, app in enumerate(subject.draft.definition.composio.apps):
        path: KeyPath = ("composio", "apps", index)
        if app.name in seen:
            yield subject.warning(path, f"the app `{app.name}` is declared twice", "put its actions together", "duplicate-app")
        seen.add(app.name)
        for place, tool in enumerate(app.tools):
            here = (*path, "actions", place)
            if not TOOL.match(tool):
                message = f"`{app.actions[place] if app.actions else tool}` is no action of `{app.name}`"
                yield subject.error(here, message, "write the action's name, e.g. `get_order`", "unknown-tool")
            elif tools is not None and not _matches(tool, tools):
                yield _unknown(subject, here, tool, tools)


def _tools(subject: Subject, path: KeyPath, node: Node, tools: Collection[str] | None) -> Iterator[Fault]:
    declared = [tool for app in subject.draft.definition.composio.apps for tool in app.tools]
    here = (*path, "config", "tools" if node.config.tools else "allowed_tools")
    for tool in node.config.tool_specs:
        if not TOOL.match(tool):
            message = f"`{tool}` of `{node.id}` names no tool"
            yield subject.error(here, message, f"write app and action: {_spelled(tool, declared)}", "malformed-tool")
            continue
        app = tool.partition(".")[0]
        allowed = [each.lower() for each in declared if each.partition(".")[0].lower() == app.lower()]
        if not allowed:
            message = f"the tool `{tool}` of `{node.id}` belongs to an app that `composio.apps` does not declare"
            yield subject.error(here, message, f"add `- name: {app}` with its actions below `composio.apps`", "undeclared-tool")
        elif not tool.endswith(".*") and tool.lower() not in allowed and f"{app.lower()}.*" not in allowed:
            message = f"the tool `{tool}` of `{node.id}` is not declared in `composio.apps`"
            advice = f"the node may use it all the same; to have it in the list too, add it to the actions of `{app}`"
            yield subject.warning(here, message, advice, "undeclared-tool")
        if tools is not None and not _matches(tool, tools) and tool not in declared:
            yield _unknown(subject, here, tool, tools)


def _matches(tool: str, tools: Collection[str]) -> bool:
    tool = tool.lower()  # as the tool server's names are
    return any(each.startswith(tool[:-1]) for each in tools) if tool.endswith(".*") else tool in tools


def _unknown(subject: Subject, path: KeyPath, tool: str, tools: Collection[str]) -> Fault:
    app = tool.partition(".")[0]
    same_app = sorted(each for each in tools if each.startswith(f"{app}."))
    remedy = did_you_mean(tool, same_app or sorted(tools))
    message = f"the tool server knows no `{tool}`: a node that names it fails when it runs"
    return subject.warning(path, message, remedy, "unknown-tool")


def _spelled(tool: str, declared: list[str]) -> str:
    plain = tool.lower().replace("_", ".", 1)
    return f"`{plain}`" if plain in declared else "e.g. `shopify.get_order`, or `shopify.*` for all of an app"


def _labels(subject: Subject, profiles: Collection[str], profile_faults: ProfileFaults | None) -> Iterator[Fault]:
    labels = subject.draft.definition.llm_profiles
    against = profile_faults(labels) if profile_faults is not None and labels else {}
    for label, meant in labels.items():
        path: KeyPath = ("llm_profiles", label)
        others = [*profiles, *(each for each in labels if each != label)]
        found = list(_meant(subject, path, f"the label `{label}`", meant, others))
        yield from found
        for sentence in () if found else against.get(label, ()):
            yield subject.error(path, sentence, "docs/guides/router.md says what a profile may have", "profile")


def _profile(subject: Subject, path: KeyPath, node: Node, profiles: Collection[str]) -> Iterator[Fault]:
    label = node.config.model_profile
    labels = subject.draft.definition.llm_profiles
    if label is not None and label not in labels:
        here = (*path, "config", "model_profile")
        yield from _meant(subject, here, f"`{node.id}`", label, [*labels, *profiles])


def _meant(subject: Subject, path: KeyPath, who: str, meant: Any, profiles: Collection[str]) -> Iterator[Fault]:
    """Faults of a label's meaning: the name of a profile, or a mapping that names one or lists its own models."""
    if isinstance(meant, Mapping) and "profile" in meant:
        meant = meant["profile"]
    if isinstance(meant, str):
        if meant not in profiles:
            message = f"{who} asks for the model profile `{meant}`, which no model can serve"
            yield subject.error(path, message, _choice(meant, profiles), "profile")
    elif isinstance(meant, Mapping):
        lists = [meant.get(key) for key in ("primary", "fallback", "models", "model", "primary_models", "fallback_models")]
        if not any(lists) and path[-1] not in profiles:
            message = f"{who} is a model profile without any model"
            yield subject.error(path, message, f"list models below `primary:`, or write `{path[-1]}: balanced`", "profile")
    elif meant is not None:
        yield subject.error(path, f"{who} is neither a profile's name nor a mapping", f"write `{path[-1]}: balanced`", "profile")


def _choice(meant: str, profiles: Collection[str]) -> str:
    """What looks alike, and all there are: people make profiles of their own, in files that others have never seen."""
    known = sorted(dict.fromkeys(profiles))
    there = ", ".join(f"`{name}`" for name in known)
    return f"did you mean {close}? There are {there}" if (close := nearest(meant, known)) else did_you_mean(meant, known)


def _schema(subject: Subject, path: KeyPath, schema: dict[str, Any]) -> Iterator[Fault]:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = (*path, *(part for part in error.absolute_path if isinstance(part, (str, int))))
        message = f"the output_schema is no JSON Schema: {error.message[:200]}"
        yield subject.error(where, message, "see json-schema.org, draft 2020-12", "output-schema")
        return
    except (RecursionError, ValueError, TypeError) as error:
        message = f"the output_schema cannot be read: {error}"
        yield subject.error(path, message, "write it simpler", "output-schema")
        return
    for where, key, value in _pairs(schema, path):
        if key == "$ref" and isinstance(value, str) and not value.startswith("#"):
            message = f"the output_schema refers to `{value}` elsewhere"
            yield subject.error(where, message, "write the schema out, or refer to its own `#/$defs/…`", "output-schema")


def _pairs(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield (*path, key), key, item
            yield from _pairs(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _pairs(item, (*path, index))
