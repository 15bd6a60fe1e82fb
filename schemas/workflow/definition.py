"""A workflow as its author writes it in YAML. Nothing is filled in but the defaults named here."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from schemas.bounds import Dollars, Milliseconds, Number, Seconds, SecondsOrNone, Share, TextTokens
from schemas.workflow.language import language_of

END = "END"
"""The edge target that hands a node's output to the customer."""

MOVABLE = (
    "prompt_template",
    "task",
    "goal",
    "system_prompt",
    "condition",
    "join",
    "timeout_seconds",
    "retry",
    "approval",
    "on_error",
)
"""Keys that authors write beside `config` or inside it; both mean the same."""


def as_list(value: Any) -> Any:
    """A single text where a list is expected is a list of one, or a comma list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def as_text(value: Any) -> Any:
    """Ids may look like numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Id = Annotated[str, BeforeValidator(as_text), Field(min_length=1, max_length=128)]
Texts = Annotated[list[str], BeforeValidator(as_list)]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def drop_empty(cls, value: Any) -> Any:
        """A key without a value counts as not given."""
        return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


class Condition(Part):
    """When an edge is taken or a node runs. Without a type, an expression is JMESPath if it can be, else Python."""

    type: Literal["always", "jmespath", "python_expr"] = "always"
    expression: str = ""

    @model_validator(mode="before")
    @classmethod
    def infer_type(cls, value: Any) -> Any:
        if isinstance(value, (str, bool)):
            value = {"expression": value}
        if not isinstance(value, dict):
            return value
        expression = value.get("expression")
        if isinstance(expression, (bool, int, float)):
            expression = json.dumps(expression)
            value = {**value, "expression": f"`{expression}`" if value.get("type") == "jmespath" else expression}
        if isinstance(expression, str) and value.get("type") is None:
            value = {**value, "type": language_of(expression)}
        return value


class Retry(Part):
    """How often and how patiently a retryable failure is attempted again."""

    max_attempts: Annotated[int, Number, Field(ge=1, le=100)] = 3
    initial_delay_seconds: SecondsOrNone = 1.0
    backoff: Annotated[float, Number, Field(ge=1, le=100, allow_inf_nan=False)] = 2.0
    max_delay_seconds: SecondsOrNone = 60.0


class SubstituteOutput(Part):
    """`on_error: {output: …}`: the node counts as executed with this output."""

    output: Any = None


class NodeConfig(Part):
    model_profile: str | None = None
    output_schema: dict[str, Any] | None = None
    temperature: Annotated[float, Number, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    max_iterations: Annotated[int, Number, Field(ge=1, le=1000)] | None = None
    max_retries: Annotated[int, Number, Field(ge=0, le=100)] | None = None
    max_tokens: TextTokens | None = None
    required_capabilities: Annotated[
        list[Literal["tools", "vision", "streaming", "structured_output", "reasoning"]], BeforeValidator(as_list)
    ] = Field(default_factory=list)
    """What a model must be able to do, beside what the agent's requests need by themselves."""
    max_cost_per_call: Dollars | None = None
    """US dollars. Tighter than the profile's limit, never looser."""
    max_latency_ms: Milliseconds | None = None
    tools: Texts | None = None
    allowed_tools: Texts | None = None
    context_sources: Annotated[list[Literal["conversation_history", "knowledge_base"]], BeforeValidator(as_list)] = Field(
        default_factory=list
    )

    @property
    def tool_specs(self) -> list[str]:
        """The tools this node may call: `app.action` or `app.*`, each once."""
        written = [*(self.tools or ()), *(self.allowed_tools or ())]
        return list(dict.fromkeys(part for spec in written for part in as_list(spec)))


class Node(Part):
    id: Id
    agent: str
    description: str | None = None
    config: NodeConfig = NodeConfig()
    prompt_template: str | None = None
    task: str | None = None
    goal: str | None = None
    system_prompt: str | None = None
    condition: Condition | None = None
    join: Literal["any", "all"] = "any"
    timeout_seconds: Seconds | None = None
    retry: Retry = Retry()
    approval: dict[str, Any] | None = None
    on_error: Literal["fail", "continue"] | SubstituteOutput = "fail"

    @model_validator(mode="before")
    @classmethod
    def lift(cls, value: Any) -> Any:
        """Accept the keys of MOVABLE inside `config` too."""
        if isinstance(value, dict) and isinstance(value.get("config"), dict):
            config = dict(value["config"])
            lifted = {key: config.pop(key) for key in MOVABLE if key in config and key not in value}
            return {**value, **lifted, "config": config}
        return value

    @property
    def instruction(self) -> str:
        """The text that says what to do, whichever of the three keys the author used."""
        return self.prompt_template or self.task or self.goal or ""


class Edge(Part):
    source: Annotated[Id, Field(alias="from")]
    target: Annotated[Id, Field(alias="to")]
    condition: Condition | None = None
    on: Literal["success", "failure"] = "success"


class Graph(Part):
    nodes: list[Node]
    edges: list[Edge] = Field(default_factory=list)


class App(Part):
    name: str
    entity_id_source: str | None = None
    actions: Texts = Field(default_factory=list)

    @property
    def tools(self) -> list[str]:
        """Its actions as `app.action`, however they are written; all of them, `app.*`, when none is named."""
        prefix = f"{self.name}."
        return [action if action.startswith(prefix) else prefix + action for action in self.actions or ["*"]]


class Composio(Part):
    apps: list[App] = Field(default_factory=list)


class ShortTerm(Part):
    type: str = "postgres"
    window_size: Annotated[int, Number, Field(ge=0, le=1000)] = 50


class LongTerm(Part):
    type: str = "pgvector"
    index: str | None = None
    top_k: Annotated[int, Number, Field(ge=1, le=100)] = 5


class Memory(Part):
    strategy: str = "hybrid"
    short_term: ShortTerm = ShortTerm()
    long_term: LongTerm = LongTerm()


class CostControls(Part):
    max_cost_per_conversation: Dollars | None = None
    daily_budget: Dollars | None = None
    monthly_budget: Dollars | None = None
    alert_threshold: Share | None = None


class Monitoring(Part):
    track_latency: bool = True
    track_costs: bool = True
    track_tool_usage: bool = True
    alert_on_error_rate: Share | None = None


NAME = r"^[^\s@\x00-\x1f\x7f]([^@\x00-\x1f\x7f]*[^\s@\x00-\x1f\x7f])?$"
"""Anything people can read, without `@`, which stands before a version."""

VERSION = r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.\-]+)?(\+[0-9A-Za-z.\-]+)?$"
"""Semantic versioning's three numbers. That none begins with a zero is said to authors, and not to those who published so."""


class WorkflowDefinition(Part):
    name: Annotated[str, Field(min_length=1, max_length=128, pattern=NAME)]
    version: Annotated[str, Field(max_length=128, pattern=VERSION)]
    description: str = ""
    llm_profiles: dict[str, Any] = Field(default_factory=dict)
    composio: Composio = Composio()
    workflow: Graph
    memory: Memory = Memory()
    cost_controls: CostControls = CostControls()
    monitoring: Monitoring = Monitoring()
    failure_response: str | None = None
    timeout_seconds: Seconds | None = None
    """Of a whole run, from its start to its answer."""
    conversations: Literal["own", "shared"] = "own"
    """`own`: a conversation belongs to the first customer who is named in it. `shared`: anybody may go on with it."""
    entities: dict[str, Any] = Field(default_factory=dict)
    """Defaults for the fields that `entity_id_source` names."""
    trigger: dict[str, Any] = Field(default_factory=dict)
