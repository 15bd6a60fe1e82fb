"""What the ledger counts up to: totals by the hour, the health of agents, and alerts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from schemas.base import Event, Json, MicroUsd, Millis

HOUR_MS = 3_600_000


class RollupChanged(Event):
    """One total as it is now (topic `costs.rollups`, compacted): a whole value and no difference, so that any repeat is harmless.

    One source partition counts into its own rows; readers add up over `source_partition`. `conversation_id` is not used.
    """

    TYPE: ClassVar[str] = "hil.rollup.changed"

    kind: str
    """`calls` (attempts at a model), `actions` (tool calls), `nodes` (how nodes ended) or `runs` (how runs ended)."""
    source_partition: int
    last_offset: int
    """The last record of that partition that this row counts. A row with a larger one is newer."""
    hour_ms: Millis
    """The hour of the events counted here, by their own time; its first millisecond."""
    model: str = ""
    provider: str = ""
    profile: str = ""
    agent: str = ""
    workflow: str = ""
    """As the event has it: a name, or name@version."""
    node_id: str = ""
    app: str = ""
    action: str = ""
    outcome: str = ""
    """Of calls and actions `ok` or the code of what failed; of nodes and runs their status, of a node that failed for no fault of
    its agent with what it speaks of, as in `failed:budget`."""
    count: int = 0
    errors: int = 0
    """Of `count`: those that failed."""
    cost_micro_usd: MicroUsd = 0
    input_text_tokens: int = 0
    cached_text_tokens: int = 0
    cache_write_text_tokens: int = 0
    output_text_tokens: int = 0
    reasoning_text_tokens: int = 0
    latency_ms: Millis = 0
    """The sum."""
    latency: Json = None
    """Its distribution: bucket → how many, as schemas.sketch reads it."""

    @property
    def key(self) -> str:
        return json.dumps([self.kind, self.source_partition, self.hour_ms // HOUR_MS, *self.dimensions.values()])

    @property
    def dimensions(self) -> Mapping[str, str]:
        """What a row is about, besides its hour and the partition it comes from."""
        return {name: getattr(self, name) for name in DIMENSIONS}


DIMENSIONS = ("model", "provider", "profile", "agent", "workflow", "node_id", "app", "action", "outcome")


class AgentHealth(Event):
    """How an agent has done lately (topic `agent.health`, compacted by its name). `conversation_id` is not used."""

    TYPE: ClassVar[str] = "hil.agent.health"

    agent: str
    healthy: bool
    executions: int
    """Nodes it has ended in the window, whole hours, but for those that failed for no fault of its own."""
    failures: int
    window_ms: Millis
    since_ms: Millis
    """Since when it is healthy, or is not."""
    reason: str = ""

    @property
    def key(self) -> str:
        return self.agent


class Alert(Event):
    """A state that people are told about, once when it changes (topic `alerts`). `conversation_id` is not used."""

    TYPE: ClassVar[str] = "hil.alert"

    name: str
    """What it is about, e.g. `budget.daily.support`: the key. The latest alert of a name is its present state."""
    kind: str
    """`budget`, `error_rate`, `agent_health`; of one worker: `breaker` (of a model) or `key` (of a provider)."""
    state: str
    """`ok`, `warning` or `critical`."""
    message: str
    """For people: what is, what the limit is, what to do."""
    workflow: str = ""
    agent: str = ""
    period: str = ""
    """`daily` or `monthly` for a budget."""
    period_start_ms: Millis = 0
    spent_micro_usd: MicroUsd = 0
    limit_micro_usd: MicroUsd = 0
    executions: int = 0
    failures: int = 0
    threshold_permille: int = 0
    """The share at which the alert begins, in thousandths."""
    model: str = ""
    provider: str = ""
    worker: str = ""
    """The node worker whose breaker it is. Each has its own."""
    breaker: str = ""
    """`open`, `half_open`, `cooling` or `closed`."""
    until_ms: Millis = 0
    """When a model, or a key, that is left alone may be asked again."""

    @property
    def key(self) -> str:
        return self.name


class BudgetNoticed(Event):
    """A worker says that a budget that all share is nearly reached, or refuses calls (topic `budget.notices`).

    Every worker says so; the ledger makes one alert of it. `conversation_id` is not used.
    """

    TYPE: ClassVar[str] = "hil.budget.noticed"

    workflow: str = ""
    """Empty: the budget of everything."""
    period: str
    """`daily` or `monthly`."""
    period_start_ms: Millis
    level: str
    """`alert`: the threshold is passed; `exhausted`: calls are refused."""
    spent_micro_usd: MicroUsd
    """By all, as far as this worker knows."""
    limit_micro_usd: MicroUsd

    @property
    def key(self) -> str:
        return f"{self.period}.{self.workflow}"
