-- What workers held that are gone comes back by itself: every model call says who paid it, so that of each of them is known, once
-- the log is counted, what it spent and did not tell.

ALTER TABLE llm_routing_decisions ADD COLUMN worker text NOT NULL DEFAULT '';
CREATE INDEX llm_routing_decisions_worker ON llm_routing_decisions (worker, occurred_at) WHERE worker <> '';

-- A lease's holder is its worker and, behind a hash, the limit; those of before this migration end in a slash and the limit, and
-- are left to budget_reconcile, for the log does not say what they paid.
CREATE FUNCTION budget_worker(holder text) RETURNS text IMMUTABLE LANGUAGE sql AS $$
    SELECT substring(holder FROM '^(.*)#[0-9]+$')
$$;

CREATE VIEW budget_gone AS
SELECT budget_worker(l.holder) AS worker, l.scope, l.period, sum(l.spent_micro_usd)::bigint AS told_micro_usd,
       sum(l.held_micro_usd)::bigint AS held_micro_usd, max(l.expires_at) AS expired_at
FROM budget_leases l
WHERE budget_worker(l.holder) IN (SELECT budget_worker(holder) FROM budget_leases WHERE held_micro_usd > 0 AND expires_at < now())
  AND NOT EXISTS (SELECT FROM budget_leases o WHERE budget_worker(o.holder) = budget_worker(l.holder) AND o.expires_at >= now())
GROUP BY 1, 2, 3
HAVING sum(l.held_micro_usd) > 0;
COMMENT ON VIEW budget_gone IS 'What workers hold that have renewed none of their leases.';
CREATE INDEX budget_leases_worker ON budget_leases (budget_worker(holder), expires_at);

-- Let go of what workers held that were gone before `until_`. The projected log must have every call they told it. Of each, what the
-- log has from the beginning of the period on (an hour early, as clocks differ) beyond what it told, is booked as spent; it counts
-- calls of later periods as well, which is too much and therefore safe. What becomes free is returned.
-- A worker that was only frozen tells its total when it wakes up: what was booked for it here is not booked again.
CREATE FUNCTION budget_reclaim(until_ timestamptz) RETURNS TABLE (scope text, period text, freed bigint) LANGUAGE plpgsql AS $$
DECLARE
    gone     budget_gone;
    counted  bigint;
    booked   bigint;
    begins   timestamptz;
BEGIN
    FOR gone IN SELECT * FROM budget_gone g WHERE g.expired_at < until_ ORDER BY g.scope, g.period, g.worker LOOP
        PERFORM FROM budget_periods p WHERE p.scope = gone.scope AND p.period = gone.period FOR UPDATE;
        -- As it is behind the lock: it may have renewed meanwhile, or somebody else has let go of it.
        SELECT * INTO gone FROM budget_gone g
        WHERE g.worker = gone.worker AND g.scope = gone.scope AND g.period = gone.period AND g.expired_at < until_;
        CONTINUE WHEN NOT FOUND;
        begins := to_date(rpad(gone.period, 10, '-01'), 'YYYY-MM-DD')::timestamp AT TIME ZONE 'UTC' - interval '1 hour';
        SELECT coalesce(sum(d.cost_micro_usd), 0) INTO counted FROM llm_routing_decisions d
        WHERE d.worker = gone.worker AND d.worker <> '' AND d.occurred_at >= begins
          AND (gone.scope NOT LIKE 'workflow %' OR gone.scope = 'workflow ' || split_part(d.workflow, '@', 1));
        booked := least(gone.held_micro_usd, greatest(0, counted - gone.told_micro_usd));
        UPDATE budget_periods p SET spent_micro_usd = p.spent_micro_usd + booked, held_micro_usd = p.held_micro_usd - gone.held_micro_usd
        WHERE p.scope = gone.scope AND p.period = gone.period;
        UPDATE budget_leases l SET held_micro_usd = 0
        WHERE l.scope = gone.scope AND l.period = gone.period AND budget_worker(l.holder) = gone.worker;
        UPDATE budget_leases l SET spent_micro_usd = l.spent_micro_usd + booked
        WHERE (l.holder, l.scope, l.period) = (
            SELECT o.holder, o.scope, o.period FROM budget_leases o
            WHERE o.scope = gone.scope AND o.period = gone.period AND budget_worker(o.holder) = gone.worker ORDER BY o.holder LIMIT 1);
        scope := gone.scope; period := gone.period; freed := gone.held_micro_usd - booked;
        RETURN NEXT;
    END LOOP;
END $$;
