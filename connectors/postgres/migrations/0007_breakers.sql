-- What node workers say of the models and keys they leave alone, and the state of each breaker as a metric.

ALTER TABLE alerts
    ADD COLUMN model    text NOT NULL DEFAULT '',
    ADD COLUMN provider text NOT NULL DEFAULT '',
    ADD COLUMN worker   text NOT NULL DEFAULT '',
    ADD COLUMN breaker  text NOT NULL DEFAULT '',
    ADD COLUMN until    timestamptz;

CREATE VIEW circuit_breaker_state AS
SELECT kind, model, provider, worker, breaker AS state,
       CASE breaker WHEN 'closed' THEN 0 WHEN 'half_open' THEN 1 WHEN 'cooling' THEN 2 ELSE 3 END AS value,
       occurred_at AS since, until, message
FROM (SELECT DISTINCT ON (name) *
      FROM alerts
      WHERE kind IN ('breaker', 'key')
      ORDER BY name, occurred_at DESC) AS latest
WHERE breaker = 'closed' OR coalesce(until, occurred_at) > now() - interval '1 hour'
ORDER BY value DESC, model, provider, worker;
COMMENT ON VIEW circuit_breaker_state IS
    'one row a model (or provider key) and node worker whose state ever changed, as the worker said last; one that should have been '
    'asked again an hour ago is not shown: nobody calls it, or its worker is gone';
