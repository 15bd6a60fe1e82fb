-- What the projector copies out of the log. Every table here can be made again from it, and says so in its comment:
-- a rebuild empties exactly the tables whose comment begins with "rebuildable". None of them has a clock, a sequence
-- or a random default, so that the same log gives the same rows. Money is kept in whole micro-dollars.

CREATE TABLE projection_offsets (
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL,
    fence       bigint  NOT NULL,
    PRIMARY KEY (topic, partition)
);
COMMENT ON TABLE projection_offsets IS
    'How far each partition has been copied; moved in the transaction that writes the rows. Whoever raised the fence last may write.';

CREATE TABLE workflow_registry (
    name         text    NOT NULL,
    digest       text    NOT NULL,
    version      text    NOT NULL,
    source       text    NOT NULL,
    definition   jsonb   NOT NULL,
    agent_types  jsonb   NOT NULL,
    deprecated   boolean NOT NULL,
    published_at timestamptz NOT NULL,
    PRIMARY KEY (name, digest)
);
COMMENT ON TABLE workflow_registry IS 'rebuildable: one row a published version of a workflow (workflow.definitions)';

CREATE TABLE conversations (
    conversation_id text PRIMARY KEY,
    customer_id     text,
    customer_email  text,
    workflow        text,
    last_run_id     text,
    last_status     text,
    last_ordinal    bigint,
    started_at      timestamptz,
    updated_at      timestamptz
);
CREATE INDEX conversations_updated ON conversations (updated_at DESC);
COMMENT ON TABLE conversations IS 'rebuildable: one row a conversation, as its last run left it (workflow.events)';

CREATE TABLE messages (
    conversation_id text   NOT NULL,
    ordinal         bigint NOT NULL,
    role            text   NOT NULL CHECK (role IN ('customer', 'agent')),
    text            text   NOT NULL,
    message_id      text   NOT NULL,
    run_id          text   NOT NULL,
    time            timestamptz NOT NULL,
    PRIMARY KEY (conversation_id, ordinal)
);
COMMENT ON TABLE messages IS 'rebuildable: what was said, in the order of the conversation: message 1, answer 2, message 3, … (workflow.events)';

CREATE TABLE workflow_executions (
    run_id             text PRIMARY KEY,
    conversation_id    text NOT NULL,
    message_id         text NOT NULL,
    ordinal            bigint,
    workflow           text NOT NULL,
    version            text NOT NULL,
    digest             text,
    status             text,
    context            jsonb,
    received_at        timestamptz,
    started_at         timestamptz,
    finished_at        timestamptz,
    duration_ms        bigint,
    cost_micro_usd     bigint,
    cost_usd           numeric(20, 6) GENERATED ALWAYS AS (cost_micro_usd::numeric / 1000000) STORED,
    input_text_tokens  bigint,
    output_text_tokens bigint,
    text               text,
    error              text,
    executed           jsonb,
    skipped            jsonb,
    failed             jsonb,
    trace              jsonb
);
CREATE INDEX workflow_executions_conversation ON workflow_executions (conversation_id, ordinal);
CREATE INDEX workflow_executions_started ON workflow_executions (started_at DESC);
COMMENT ON TABLE workflow_executions IS 'rebuildable: one row a run; status is null while it runs, trace is filled when it ends (workflow.events)';

CREATE TABLE agent_executions (
    run_id             text NOT NULL,
    node_id            text NOT NULL,
    conversation_id    text NOT NULL,
    execution_id       text,
    agent              text,
    agent_type         text,
    status             text,
    success            boolean GENERATED ALWAYS AS (CASE status WHEN 'executed' THEN true WHEN 'failed' THEN false END) STORED,
    reason             text,
    error              text,
    attempts           integer,
    requested_at       timestamptz,
    finished_at        timestamptz,
    duration_ms        bigint,
    cost_micro_usd     bigint,
    cost_usd           numeric(20, 6) GENERATED ALWAYS AS (cost_micro_usd::numeric / 1000000) STORED,
    input_text_tokens  bigint,
    output_text_tokens bigint,
    models             jsonb,
    tools              jsonb,
    output             jsonb,
    steps              jsonb,
    PRIMARY KEY (run_id, node_id)
);
CREATE INDEX agent_executions_finished ON agent_executions (finished_at DESC);
COMMENT ON TABLE agent_executions IS 'rebuildable: one row a node of a run, skipped ones too; status is null while it runs (workflow.events)';

CREATE TABLE llm_routing_decisions (
    decision_id        text PRIMARY KEY,
    occurred_at        timestamptz NOT NULL,
    conversation_id    text    NOT NULL,
    run_id             text    NOT NULL,
    node_id            text    NOT NULL,
    execution_id       text    NOT NULL,
    attempt            integer NOT NULL,
    workflow           text    NOT NULL,
    agent              text    NOT NULL,
    requested_profile  text    NOT NULL,
    provider           text    NOT NULL,
    selected_model     text    NOT NULL,
    success            boolean NOT NULL,
    error              text,
    input_text_tokens  bigint  NOT NULL,
    cached_text_tokens bigint  NOT NULL,
    output_text_tokens bigint  NOT NULL,
    cost_micro_usd     bigint  NOT NULL,
    cost_usd           numeric(20, 6) GENERATED ALWAYS AS (cost_micro_usd::numeric / 1000000) STORED,
    latency_ms         bigint  NOT NULL
);
CREATE INDEX llm_routing_decisions_occurred ON llm_routing_decisions (occurred_at DESC);
CREATE INDEX llm_routing_decisions_run ON llm_routing_decisions (run_id);
COMMENT ON TABLE llm_routing_decisions IS 'rebuildable: one row an attempt at a model (llm.routing-decisions)';

CREATE TABLE composio_action_usage (
    usage_id        text PRIMARY KEY,
    occurred_at     timestamptz NOT NULL,
    conversation_id text    NOT NULL,
    run_id          text    NOT NULL,
    node_id         text    NOT NULL,
    execution_id    text    NOT NULL,
    attempt         integer NOT NULL,
    workflow        text    NOT NULL,
    app             text    NOT NULL,
    action          text    NOT NULL,
    entity_id       text    NOT NULL,
    success         boolean NOT NULL,
    error           text,
    latency_ms      bigint  NOT NULL
);
CREATE INDEX composio_action_usage_occurred ON composio_action_usage (occurred_at DESC);
CREATE INDEX composio_action_usage_run ON composio_action_usage (run_id);
COMMENT ON TABLE composio_action_usage IS 'rebuildable: one row a call of a tool (tool.action-usage)';

CREATE TABLE human_tasks (
    task_id         text PRIMARY KEY,
    created_at      timestamptz NOT NULL,
    conversation_id text NOT NULL,
    run_id          text NOT NULL,
    node_id         text NOT NULL,
    reason          text NOT NULL,
    details         jsonb
);
CREATE INDEX human_tasks_created ON human_tasks (created_at DESC);
COMMENT ON TABLE human_tasks IS 'rebuildable: one row a time a person was needed (human.tasks)';

CREATE TABLE dead_letters (
    letter_id     text PRIMARY KEY,
    occurred_at   timestamptz NOT NULL,
    processor     text    NOT NULL,
    topic         text    NOT NULL,
    partition     integer NOT NULL,
    "offset"      bigint  NOT NULL,
    code          text    NOT NULL,
    reason        text    NOT NULL,
    attempts      integer NOT NULL,
    conversation_id text  NOT NULL,
    headers       jsonb   NOT NULL,
    record_key    text,
    payload       bytea,
    payload_bytes bigint  NOT NULL
);
CREATE INDEX dead_letters_occurred ON dead_letters (occurred_at DESC);
COMMENT ON TABLE dead_letters IS 'rebuildable: one row a record nobody could handle, with its origin and the reason (dead-letters)';
