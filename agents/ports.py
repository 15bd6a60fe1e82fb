"""What an agent needs from the world: a model, tools, memory. Protocols only; connectors implement them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from agents.router.budget import Budget


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to call a tool."""

    id: str
    name: str
    """As in ToolSpec.name, e.g. `shopify.get_order`."""
    arguments: Mapping[str, Any] | None
    """None when the model's arguments were not a JSON object; `raw` has what it wrote."""
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Attached:
    """What an endpoint put into its message beside text and calls (signatures, reasoning) and wants to see again, unchanged.

    It goes back to the endpoint it came from, and to no other.
    """

    provider: str
    model: str
    """As in Model.name."""
    data: Any
    """JSON, read by the wire that made it alone."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """For role `tool`: which call this answers."""
    attached: Attached | None = None
    """Of a model's own message: as ChatReply.attached."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool, as shown to a model."""

    name: str
    """`app.action`."""
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of an object."""
    idempotent: bool = False
    """Safe to call twice: reads, and writes that carry an idempotency key."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Text tokens of one call, as billed, in one meaning for all providers."""

    input_text_tokens: int = 0
    """All input, with what was read from and written to the provider's cache."""
    cached_text_tokens: int = 0
    """Of the input: read from the cache."""
    cache_write_text_tokens: int = 0
    """Of the input: written to the cache."""
    output_text_tokens: int = 0
    """All output, with reasoning."""
    reasoning_text_tokens: int = 0
    """Of the output: thought, not shown."""


@dataclass(frozen=True, slots=True)
class ModelAttempt:
    """One try at one model, success or not: becomes one event on `llm.routing-decisions`."""

    provider: str
    model: str
    outcome: str
    """`ok`; `stopped`, by who had read enough of it; or the code of what failed, e.g. `http_429`, `over_budget`."""
    error: str | None = None
    usage: Usage = Usage()
    cost_micro_usd: int = 0
    latency_ms: int = 0
    first_token_ms: int | None = None
    estimated: Usage = Usage()
    estimated_cost_micro_usd: int = 0
    estimated_latency_ms: int = 0
    reasoning: str = ""
    """Why this model, in words."""
    runner_up: str | None = None
    candidates: Sequence[Mapping[str, Any]] = ()
    """Every model considered: {model, score} or {model, left_out}. Only on the first attempt of a request."""
    price: Mapping[str, Any] | None = None
    """The price row used."""

    @property
    def success(self) -> bool:
        return self.outcome in ("ok", "stopped")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    profile: str
    """fast | balanced | powerful | a name from the settings."""
    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    use_tools: bool = True
    """False: the tools are shown, since the conversation speaks of them, and none may be called."""
    output_schema: Mapping[str, Any] | None = None
    temperature: float | None = None
    max_tokens: int = 4096
    budget: Budget | None = field(default=None, repr=False, compare=False)
    """What it may draw on; None: nothing bounds it."""
    on_attempt: Callable[[ModelAttempt], None] | None = field(default=None, repr=False, compare=False)
    """Hears of every try at a model the moment it has ended. A model without books of its own says nothing. Must not raise."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    text: str
    tool_calls: tuple[ToolCall, ...]
    provider: str
    model: str
    input_text_tokens: int
    output_text_tokens: int
    cached_text_tokens: int
    cost_micro_usd: int
    latency_ms: int
    finish_reason: str = "stop"
    """`stop`, `length` (cut at max_tokens), `tool_calls`, or `refusal` (the model or its filter declined; `text` says why)."""
    replayed: bool = False
    """Answered from the journal: an earlier attempt made this call and has it in its books."""
    cache_write_text_tokens: int = 0
    reasoning_text_tokens: int = 0
    first_token_ms: int | None = None
    attempts: tuple[ModelAttempt, ...] = ()
    """Every try at a model that this reply took, the successful one last. Empty: this reply is its only attempt."""
    handling: str | None = None
    """From the journal: which handling of the task made this call. It names the call's events, and who paid."""
    attached: Attached | None = None


@dataclass(frozen=True, slots=True)
class ChatPiece:
    """A piece of a streamed answer, as it comes. The last one has no text but the reply, which is whole."""

    text: str = ""
    reply: ChatReply | None = None


class ChatModel(Protocol):
    """A model behind whatever chooses one. Raises Retryable or Fatal (agents.errors); never a provider's own error."""

    async def complete(self, request: ChatRequest) -> ChatReply: ...


@runtime_checkable
class StreamingModel(ChatModel, Protocol):
    """A model that can also be heard while it writes. Read one with `agents.streaming.pieces`."""

    def stream(self, request: ChatRequest) -> AsyncGenerator[ChatPiece, None]:
        """Raises as `complete`; once a piece was read, nobody else is asked. Who stops reading closes it and pays what came:
        `request.on_attempt` hears of it."""
        ...


@dataclass(frozen=True, slots=True)
class ToolResult:
    success: bool
    data: Any = None
    error: str | None = None
    latency_ms: int = 0
    entity_id: str = ""
    """Whose connection was used."""
    acted: bool = True
    """False when the call was refused before it reached the tool."""
    replayed: bool = False
    """Answered from the journal: an earlier attempt did it and has it in its books."""
    handling: str | None = None
    """As ChatReply.handling."""


class Tools(Protocol):
    """The tools of one node, already narrowed to what its definition allows."""

    def specs(self) -> Sequence[ToolSpec]: ...

    async def call(self, call: ToolCall) -> ToolResult:
        """Validate, act, report. A tool's own failure is a result with success=False, so that the model can read it.

        Raises Retryable when the tool cannot be reached and nothing was done; Park when it is unknown whether it acted.
        """
        ...


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    role: Literal["customer", "agent"]
    text: str


@dataclass(frozen=True, slots=True)
class Passage:
    title: str
    text: str
    score: float
    """Cosine similarity, -1..1."""


class Memory(Protocol):
    async def history(self, conversation_id: str, *, before: int, limit: int) -> Sequence[HistoryMessage]:
        """The last `limit` messages with an ordinal smaller than `before`, oldest first.

        Raises Retryable while the store has not caught up with the log.
        """
        ...

    async def knowledge(self, query: str, *, top_k: int) -> Sequence[Passage]:
        """The nearest knowledge passages, best first."""
        ...


class Programs(Protocol):
    """Which programs of one execution may be run."""

    async def begin(self, source: str) -> str | None:
        """Note durably that it runs from now on. A reason instead when it broke its interpreter, or ended whoever ran it."""
        ...

    async def end(self, source: str, *, broke: str | None = None) -> None:
        """It ended; with `broke`, in a way for which it is never to be run again."""
        ...


class Work(msgspec.Struct, frozen=True, gc=False):
    """One attempt of one node, as an agent sees it: definition resolved, template scope ready, no trace of Kafka."""

    conversation_id: str
    run_id: str
    node_id: str
    execution_id: str
    attempt: int
    instruction: str
    """The rendered prompt_template, task or goal."""
    system_prompt: str | None
    profile: str
    customer_text: str
    output_schema: Mapping[str, Any] | None = None
    temperature: float | None = None
    max_tokens: int = 4096
    max_iterations: int = 10
    max_retries: int = 3
    now_ms: int = 0
    """The time of the cause: the clock a program of this node sees, so that a repeat sees the same one."""
    may_quote: bool = True
    """The author's template asks for the customer's text, so that `instruction` may hold it already."""
    programs: Programs | None = None
    """What is remembered of the programs this execution ran."""


class AgentResult(msgspec.Struct, frozen=True):
    """What an agent hands back. `steps` is its chain of thought, action and observation, JSON-able."""

    output: Any
    steps: Sequence[Mapping[str, Any]] = ()


class Agent(Protocol):
    """One way of thinking. Costs, tokens and tool uses are counted by the ports it is given, not by the agent."""

    async def run(self, work: Work, *, model: ChatModel, tools: Tools) -> AgentResult:
        """Raises Retryable, Park or Fatal; anything else is a defect."""
        ...
