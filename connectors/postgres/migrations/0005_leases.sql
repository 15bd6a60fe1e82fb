-- Limits on spending that many workers share. A worker holds a part of a limit as a lease, spends it by itself, and tells what it
-- spent when it asks for more. At any time, for each scope and period: spent + held <= limit.
-- A lease that has expired stays held: nobody knows what its worker spent of it until the log is counted (budget_reconcile).
-- These exist nowhere else: a rebuild never touches them.

CREATE TABLE budget_periods (
    scope           text   NOT NULL,
    period          text   NOT NULL,
    limit_micro_usd bigint NOT NULL,
    spent_micro_usd bigint NOT NULL DEFAULT 0,
    held_micro_usd  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, period)
);
COMMENT ON TABLE budget_periods IS 'What was spent of a limit in a day (YYYY-MM-DD) or month (YYYY-MM), UTC, by the time of the cause. The limit is the one last asked with.';

CREATE TABLE budget_leases (
    holder          text        NOT NULL,
    scope           text        NOT NULL,
    period          text        NOT NULL,
    spent_micro_usd bigint      NOT NULL,
    held_micro_usd  bigint      NOT NULL,
    expires_at      timestamptz NOT NULL,
    PRIMARY KEY (holder, scope, period),
    FOREIGN KEY (scope, period) REFERENCES budget_periods
);
CREATE INDEX budget_leases_held ON budget_leases (scope, period, expires_at) WHERE held_micro_usd > 0;
COMMENT ON TABLE budget_leases IS 'spent_micro_usd is all the holder ever told, held_micro_usd what it may spend beyond that without asking.';

-- Tell what was spent, and set what is held anew. Safe to repeat: `spent` is a total, and what is held is set, not added.
--   reserved  calls in flight; always stays held, even beyond the limit, for it may be spent whatever we say
--   needed    asked for now, by all who wait
--   least     of that, by the first of them; if not even this is there, what is not reserved is given back, so that no worker sits
--             on an end too small to be of use
--   spare     keep what is held, and add a hundredth of the limit, at most a quarter of what is free, for calls to come;
--             false: give back what is not reserved
CREATE FUNCTION budget_exchange(
    holder_ text, scope_ text, period_ text, limit_ bigint, spent_ bigint, reserved_ bigint, needed_ bigint, least_ bigint,
    spare_ boolean, seconds_ double precision
) RETURNS TABLE (held bigint, spent_by_all bigint) LANGUAGE plpgsql AS $$
DECLARE
    period_row budget_periods;
    lease      budget_leases;
    fresh      bigint;
    before     bigint;
    free       bigint;
    wanted     bigint;
    kept       bigint := 0;
BEGIN
    SELECT * INTO period_row FROM budget_periods p WHERE p.scope = scope_ AND p.period = period_ FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO budget_periods VALUES (scope_, period_, limit_) ON CONFLICT DO NOTHING;
        SELECT * INTO period_row FROM budget_periods p WHERE p.scope = scope_ AND p.period = period_ FOR UPDATE;
    END IF;
    SELECT * INTO lease FROM budget_leases l WHERE l.holder = holder_ AND l.scope = scope_ AND l.period = period_;
    before := coalesce(lease.held_micro_usd, 0);
    fresh := greatest(0, spent_ - coalesce(lease.spent_micro_usd, 0));
    free := greatest(0, limit_ - period_row.spent_micro_usd - fresh - (period_row.held_micro_usd - before));
    wanted := reserved_ + needed_;
    IF spare_ THEN
        wanted := wanted + least(limit_ / 100, greatest(0, free - wanted) / 4);
        kept := greatest(0, before - fresh);
    END IF;
    held := greatest(reserved_, kept, least(wanted, free));
    IF least_ > 0 AND free < reserved_ + least_ THEN
        held := reserved_;
    END IF;
    spent_by_all := period_row.spent_micro_usd + fresh;
    UPDATE budget_periods p
    SET limit_micro_usd = limit_, spent_micro_usd = spent_by_all, held_micro_usd = p.held_micro_usd - before + budget_exchange.held
    WHERE p.scope = scope_ AND p.period = period_;
    INSERT INTO budget_leases AS l VALUES (holder_, scope_, period_, spent_, held, now() + make_interval(secs => seconds_))
    ON CONFLICT (holder, scope, period) DO UPDATE
    SET spent_micro_usd = greatest(l.spent_micro_usd, excluded.spent_micro_usd), held_micro_usd = excluded.held_micro_usd,
        expires_at = excluded.expires_at;
    RETURN NEXT;
END $$;

-- Let go of leases that expired before `until_`, now that the log was counted up to then: `counted_` is all that it says was spent
-- in the period. What it has and no worker told was spent by those that died. Returns what becomes free.
CREATE FUNCTION budget_reconcile(scope_ text, period_ text, counted_ bigint, until_ timestamptz) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    period_row budget_periods;
    dead       bigint;
    found_     bigint;
BEGIN
    SELECT * INTO period_row FROM budget_periods p WHERE p.scope = scope_ AND p.period = period_ FOR UPDATE;
    WITH ended AS (
        UPDATE budget_leases l SET held_micro_usd = 0
        FROM (SELECT holder, held_micro_usd FROM budget_leases
              WHERE scope = scope_ AND period = period_ AND held_micro_usd > 0 AND expires_at < least(until_, now())) AS o
        WHERE l.holder = o.holder AND l.scope = scope_ AND l.period = period_
        RETURNING o.held_micro_usd
    )
    SELECT coalesce(sum(held_micro_usd), 0) INTO dead FROM ended;
    found_ := least(dead, greatest(0, counted_ - period_row.spent_micro_usd));
    UPDATE budget_periods p SET spent_micro_usd = p.spent_micro_usd + found_, held_micro_usd = p.held_micro_usd - dead
    WHERE p.scope = scope_ AND p.period = period_;
    RETURN dead - found_;
END $$;

CREATE VIEW budget_use AS
SELECT p.scope, p.period, p.limit_micro_usd, p.spent_micro_usd, p.held_micro_usd,
       coalesce((SELECT sum(l.held_micro_usd) FROM budget_leases l
                 WHERE l.scope = p.scope AND l.period = p.period AND l.held_micro_usd > 0 AND l.expires_at < now()), 0)::bigint
           AS held_by_expired_micro_usd
FROM budget_periods p;
COMMENT ON VIEW budget_use IS 'How far each limit is used. held_by_expired is counted as spent until budget_reconcile.';
