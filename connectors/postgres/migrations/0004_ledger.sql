-- What the ledger counts, and the whole story of a model call.

ALTER TABLE llm_routing_decisions
    ADD COLUMN step                         text    NOT NULL DEFAULT '',
    ADD COLUMN candidate                    integer NOT NULL DEFAULT 1,
    ADD COLUMN outcome                      text    NOT NULL DEFAULT '',
    ADD COLUMN cache_write_text_tokens      bigint  NOT NULL DEFAULT 0,
    ADD COLUMN reasoning_text_tokens        bigint  NOT NULL DEFAULT 0,
    ADD COLUMN first_token_ms               bigint,
    ADD COLUMN estimated_input_text_tokens  bigint  NOT NULL DEFAULT 0,
    ADD COLUMN estimated_output_text_tokens bigint  NOT NULL DEFAULT 0,
    ADD COLUMN estimated_cost_micro_usd     bigint  NOT NULL DEFAULT 0,
    ADD COLUMN estimated_latency_ms         bigint  NOT NULL DEFAULT 0,
    ADD COLUMN reasoning                    text    NOT NULL DEFAULT '',
    ADD COLUMN runner_up                    text,
    ADD COLUMN candidates                   jsonb,
    ADD COLUMN price                        jsonb;

CREATE TABLE cost_rollups (
    rollup_key              text PRIMARY KEY,
    kind                    text        NOT NULL,
    source_partition        integer     NOT NULL,
    last_offset             bigint      NOT NULL,
    hour                    timestamptz NOT NULL,
    updated_at              timestamptz NOT NULL,
    model                   text        NOT NULL,
    provider                text        NOT NULL,
    profile                 text        NOT NULL,
    agent                   text        NOT NULL,
    workflow                text        NOT NULL,
    node_id                 text        NOT NULL,
    app                     text        NOT NULL,
    action                  text        NOT NULL,
    outcome                 text        NOT NULL,
    count                   bigint      NOT NULL,
    errors                  bigint      NOT NULL,
    cost_micro_usd          bigint      NOT NULL,
    cost_usd                numeric(20, 6) GENERATED ALWAYS AS (cost_micro_usd::numeric / 1000000) STORED,
    input_text_tokens       bigint      NOT NULL,
    cached_text_tokens      bigint      NOT NULL,
    cache_write_text_tokens bigint      NOT NULL,
    output_text_tokens      bigint      NOT NULL,
    reasoning_text_tokens   bigint      NOT NULL,
    latency_ms              bigint      NOT NULL,
    latency                 jsonb
);
CREATE INDEX cost_rollups_hour ON cost_rollups (kind, hour);
COMMENT ON TABLE cost_rollups IS
    'rebuildable: one row an hour, kind, combination and source partition, as the ledger has counted it (costs.rollups)';

CREATE TABLE agent_health (
    agent      text PRIMARY KEY,
    healthy    boolean     NOT NULL,
    executions bigint      NOT NULL,
    failures   bigint      NOT NULL,
    error_rate numeric(5, 4) GENERATED ALWAYS AS (failures::numeric / greatest(executions, 1)) STORED,
    window_ms  bigint      NOT NULL,
    since      timestamptz NOT NULL,
    checked_at timestamptz NOT NULL,
    reason     text        NOT NULL
);
COMMENT ON TABLE agent_health IS 'rebuildable: one row an agent, as it has done within the window (agent.health)';

CREATE TABLE alerts (
    alert_id           text PRIMARY KEY,
    occurred_at        timestamptz NOT NULL,
    name               text        NOT NULL,
    kind               text        NOT NULL,
    state              text        NOT NULL,
    message            text        NOT NULL,
    workflow           text        NOT NULL,
    agent              text        NOT NULL,
    period             text        NOT NULL,
    period_start       timestamptz,
    spent_micro_usd    bigint      NOT NULL,
    limit_micro_usd    bigint      NOT NULL,
    executions         bigint      NOT NULL,
    failures           bigint      NOT NULL,
    threshold_permille integer     NOT NULL
);
CREATE INDEX alerts_name ON alerts (name, occurred_at DESC);
COMMENT ON TABLE alerts IS 'rebuildable: one row a change of an alert''s state; the latest of a name is the present one (alerts)';

CREATE OR REPLACE VIEW model_usage_24h AS
SELECT provider,
       selected_model,
       requested_profile,
       count(*)                                                          AS calls,
       count(*) FILTER (WHERE success)                                   AS succeeded,
       sum(input_text_tokens)                                            AS input_text_tokens,
       sum(cached_text_tokens)                                           AS cached_text_tokens,
       sum(output_text_tokens)                                           AS output_text_tokens,
       sum(cost_usd)                                                     AS cost_usd,
       round(avg(latency_ms), 1)                                         AS avg_latency_ms,
       sum(cache_write_text_tokens)                                      AS cache_write_text_tokens,
       sum(reasoning_text_tokens)                                        AS reasoning_text_tokens,
       round(avg(first_token_ms), 1)                                     AS avg_first_token_ms,
       sum(estimated_cost_micro_usd)::numeric / 1000000                  AS estimated_cost_usd
FROM llm_routing_decisions
WHERE occurred_at >= now() - interval '24 hours'
GROUP BY provider, selected_model, requested_profile
ORDER BY cost_usd DESC, calls DESC, selected_model;
