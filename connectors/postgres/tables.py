"""What the projector writes: the tables of 0001_projection.sql, as far as events speak about their columns."""

from __future__ import annotations

from connectors.postgres.table import Table, columns

WORKFLOW_REGISTRY = Table(
    "workflow_registry",
    key=("name", "digest"),
    columns=columns(
        text="name digest version source", jsonb="definition agent_types", boolean="deprecated", timestamptz="published_at"
    ),
)
CONVERSATIONS = Table(
    "conversations",
    key=("conversation_id",),
    columns=columns(
        text="conversation_id customer_id customer_email workflow last_run_id last_status",
        bigint="last_ordinal",
        timestamptz="started_at updated_at",
    ),
    merges={"last_ordinal": "greatest", "started_at": "least", "updated_at": "greatest"},
)
MESSAGES = Table(
    "messages",
    key=("conversation_id", "ordinal"),
    columns=columns(text="conversation_id", bigint="ordinal") | columns(text="role text message_id run_id", timestamptz="time"),
    append_only=True,
)
WORKFLOW_EXECUTIONS = Table(
    "workflow_executions",
    key=("run_id",),
    columns=columns(
        text="run_id conversation_id message_id workflow version digest status text error",
        bigint="ordinal duration_ms cost_micro_usd",
        jsonb="context executed skipped failed",
        timestamptz="received_at started_at finished_at",
    ),
)
AGENT_EXECUTIONS = Table(
    "agent_executions",
    key=("run_id", "node_id"),
    columns=columns(
        text="run_id node_id conversation_id execution_id agent agent_type status reason error",
        integer="attempts",
        bigint="duration_ms cost_micro_usd input_text_tokens output_text_tokens",
        jsonb="models tools output steps",
        timestamptz="requested_at finished_at",
    ),
    merges={"attempts": "greatest", "requested_at": "least"},
)
ROUTING_DECISIONS = Table(
    "llm_routing_decisions",
    key=("decision_id",),
    columns=columns(
        text="decision_id conversation_id run_id node_id execution_id workflow agent"
        " requested_profile provider selected_model error step outcome reasoning runner_up worker",
        integer="attempt candidate",
        boolean="success",
        bigint="input_text_tokens cached_text_tokens cache_write_text_tokens output_text_tokens reasoning_text_tokens"
        " cost_micro_usd latency_ms first_token_ms estimated_input_text_tokens estimated_output_text_tokens"
        " estimated_cost_micro_usd estimated_latency_ms",
        jsonb="candidates price",
        timestamptz="occurred_at",
    ),
    append_only=True,
)
ACTION_USAGE = Table(
    "composio_action_usage",
    key=("usage_id",),
    columns=columns(
        text="usage_id conversation_id run_id node_id execution_id workflow app action entity_id error",
        integer="attempt",
        boolean="success",
        bigint="latency_ms",
        timestamptz="occurred_at",
    ),
    append_only=True,
)
HUMAN_TASKS = Table(
    "human_tasks",
    key=("task_id",),
    columns=columns(text="task_id conversation_id run_id node_id reason", jsonb="details", timestamptz="created_at"),
    append_only=True,
)
DEAD_LETTERS = Table(
    "dead_letters",
    key=("letter_id",),
    columns=columns(
        text="letter_id processor topic code reason conversation_id record_key",
        integer="partition attempts",
        bigint="offset payload_bytes",
        jsonb="headers",
        bytea="payload",
        timestamptz="occurred_at",
    ),
    append_only=True,
)
# Counters only grow, and each row is a function of its source up to `last_offset`: the greater is the newer, column by column.
_COUNTERS = (
    "last_offset count errors cost_micro_usd input_text_tokens cached_text_tokens cache_write_text_tokens"
    " output_text_tokens reasoning_text_tokens latency_ms"
)
COST_ROLLUPS = Table(
    "cost_rollups",
    key=("rollup_key",),
    columns=columns(
        text="rollup_key kind model provider profile agent workflow node_id app action outcome",
        integer="source_partition",
        bigint=_COUNTERS,
        jsonb="latency",
        timestamptz="hour updated_at",
    ),
    merges={**dict.fromkeys(_COUNTERS.split(), "greatest"), "updated_at": "greatest"},
)
AGENT_HEALTH = Table(
    "agent_health",
    key=("agent",),
    columns=columns(
        text="agent reason",
        boolean="healthy",
        bigint="executions failures window_ms",
        timestamptz="since checked_at",
    ),
)
ALERTS = Table(
    "alerts",
    key=("alert_id",),
    columns=columns(
        text="alert_id name kind state message workflow agent period model provider worker breaker",
        bigint="spent_micro_usd limit_micro_usd executions failures",
        integer="threshold_permille",
        timestamptz="period_start occurred_at until",
    ),
    append_only=True,
)
TABLES = (
    WORKFLOW_REGISTRY,
    CONVERSATIONS,
    MESSAGES,
    WORKFLOW_EXECUTIONS,
    AGENT_EXECUTIONS,
    ROUTING_DECISIONS,
    ACTION_USAGE,
    HUMAN_TASKS,
    DEAD_LETTERS,
    COST_ROLLUPS,
    AGENT_HEALTH,
    ALERTS,
)
"""Everything a rebuild makes again."""
