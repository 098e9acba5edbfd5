-- Flat growth: captures at their end, with their refunds, move to monthly partitions, which leave by DROP
-- (orders/3_history.sql says how).

-- The lane that owns it. A capture from before this migration has none and stays where it is: SQL cannot say to which
-- partition an order's key belongs.
ALTER TABLE captures ADD COLUMN partition int;
CREATE INDEX captures_by_age ON captures (partition, created_at, id);

-- The columns of `captures`, in their order.
CREATE TABLE capture_history (
    LIKE captures INCLUDING DEFAULTS,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);

-- A refund moves with its capture, to the capture's month.
CREATE TABLE refund_history (
    LIKE refunds INCLUDING DEFAULTS,
    captured_at timestamptz NOT NULL,               -- its capture's `created_at`
    PRIMARY KEY (id, captured_at)
) PARTITION BY RANGE (captured_at);
CREATE INDEX refund_history_of_capture ON refund_history (capture_id);

CREATE TABLE history_month (
    month      timestamptz PRIMARY KEY,
    until      timestamptz NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT now(),
    dropped_at timestamptz
);

CREATE FUNCTION make_history(at timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = payments, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    first timestamptz := date_trunc('month', at);
    next timestamptz := first + interval '1 month';
    name text;
BEGIN
    IF first > now() + interval '1 month' THEN
        RAISE EXCEPTION 'the month of % is too far ahead', at;
    END IF;
    -- two lanes may want the same month at once
    PERFORM pg_advisory_xact_lock(hashtext('payments.history'));
    IF EXISTS (SELECT FROM history_month WHERE month = first AND dropped_at IS NULL) THEN
        RETURN;
    END IF;
    -- made and attached in two steps: neither readers nor writers of other months wait
    name := 'capture_history_' || to_char(first, 'YYYY_MM');
    EXECUTE format('CREATE TABLE IF NOT EXISTS %I (LIKE capture_history INCLUDING DEFAULTS)', name);
    EXECUTE format('ALTER TABLE capture_history ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, first, next);
    name := 'refund_history_' || to_char(first, 'YYYY_MM');
    EXECUTE format('CREATE TABLE IF NOT EXISTS %I (LIKE refund_history INCLUDING DEFAULTS)', name);
    EXECUTE format('ALTER TABLE refund_history ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, first, next);
    INSERT INTO history_month (month, until) VALUES (first, next)
    ON CONFLICT (month) DO UPDATE SET dropped_at = NULL, made_at = now();
END $$;

CREATE FUNCTION drop_history(at timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = payments, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    UPDATE history_month SET dropped_at = now() WHERE month = date_trunc('month', at);
    EXECUTE format('DROP TABLE IF EXISTS %I, %I',
                   'capture_history_' || to_char(at, 'YYYY_MM'), 'refund_history_' || to_char(at, 'YYYY_MM'));
END $$;

REVOKE EXECUTE ON FUNCTION make_history, drop_history FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_history TO mambogo_payments;

CREATE VIEW every_capture AS SELECT * FROM captures UNION ALL SELECT * FROM capture_history;
CREATE VIEW every_refund AS
    SELECT * FROM refunds
    UNION ALL
    SELECT id, capture_id, order_id, state, amount, cause, attempts, keys_spent, first_called_at, reference, reason,
           created_at, settled_at, failures, retry_action
    FROM refund_history;
