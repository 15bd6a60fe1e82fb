-- The four monitoring queries, each over the last 24 hours.

CREATE VIEW agent_performance_24h AS
SELECT agent,
       agent_type,
       count(*)                                                          AS executions,
       count(*) FILTER (WHERE success)                                   AS succeeded,
       round(avg(CASE WHEN success THEN 1 ELSE 0 END), 4)                AS success_rate,
       round(avg(duration_ms), 1)                                        AS avg_duration_ms,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms)         AS p95_duration_ms,
       sum(cost_usd)                                                     AS cost_usd
FROM agent_executions
WHERE finished_at >= now() - interval '24 hours' AND status <> 'skipped'
GROUP BY agent, agent_type
ORDER BY executions DESC, agent;

CREATE VIEW model_usage_24h AS
SELECT provider,
       selected_model,
       requested_profile,
       count(*)                                                          AS calls,
       count(*) FILTER (WHERE success)                                   AS succeeded,
       sum(input_text_tokens)                                            AS input_text_tokens,
       sum(cached_text_tokens)                                           AS cached_text_tokens,
       sum(output_text_tokens)                                           AS output_text_tokens,
       sum(cost_usd)                                                     AS cost_usd,
       round(avg(latency_ms), 1)                                         AS avg_latency_ms
FROM llm_routing_decisions
WHERE occurred_at >= now() - interval '24 hours'
GROUP BY provider, selected_model, requested_profile
ORDER BY cost_usd DESC, calls DESC, selected_model;

CREATE VIEW action_usage_24h AS
SELECT app,
       action,
       count(*)                                                          AS calls,
       count(*) FILTER (WHERE success)                                   AS succeeded,
       round(avg(CASE WHEN success THEN 1 ELSE 0 END), 4)                AS success_rate,
       round(avg(latency_ms), 1)                                         AS avg_latency_ms
FROM composio_action_usage
WHERE occurred_at >= now() - interval '24 hours'
GROUP BY app, action
ORDER BY calls DESC, app, action;

CREATE VIEW workflow_cost_24h AS
SELECT workflow,
       version,
       count(*)                                                          AS runs,
       count(*) FILTER (WHERE status = 'completed')                      AS completed,
       sum(cost_usd)                                                     AS cost_usd,
       round(avg(cost_usd), 6)                                           AS avg_cost_usd,
       round(avg(duration_ms), 1)                                        AS avg_duration_ms
FROM workflow_executions
WHERE started_at >= now() - interval '24 hours'
GROUP BY workflow, version
ORDER BY cost_usd DESC NULLS LAST, workflow, version;
