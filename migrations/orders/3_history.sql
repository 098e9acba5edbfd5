-- Flat growth: settled orders that nothing on a topic names any more move to monthly partitions, which leave by DROP.
-- A key never leaves: what stays behind of each order that ever moved is one narrow row.

-- Moved orders, by the month they were accepted in. The columns of `orders`, in their order.
CREATE TABLE history (
    LIKE orders INCLUDING DEFAULTS,
    PRIMARY KEY (id, accepted_at)
) PARTITION BY RANGE (accepted_at);
CREATE INDEX history_of_owner ON history (owner, accepted_at DESC, id DESC);

-- What an idempotency key stands for, for ever. `accepted_at` leads to the row in the history, while it is there.
-- Never updated but by an order that came back and moved again.
CREATE TABLE kept_key (
    id          uuid        PRIMARY KEY,
    accepted_at timestamptz NOT NULL,
    body_hash   bytea       NOT NULL,
    status      text        NOT NULL
);

-- The partitions there are. A row moves only to a month that is here: a move must not fail for want of a partition.
CREATE TABLE history_month (
    month      timestamptz PRIMARY KEY,             -- its first moment, UTC
    until      timestamptz NOT NULL,                -- the next month's
    made_at    timestamptz NOT NULL DEFAULT now(),
    dropped_at timestamptz                          -- its rows left then; set anew to null if a late row needs it again
);

-- Services have no DDL: this much is lent to them. At most the month after this one is made ahead.
CREATE FUNCTION make_history(at timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = orders, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    first timestamptz := date_trunc('month', at);
    next timestamptz := first + interval '1 month';
    name text;
BEGIN
    IF first > now() + interval '1 month' THEN
        RAISE EXCEPTION 'the month of % is too far ahead', at;
    END IF;
    -- two lanes may want the same month at once
    PERFORM pg_advisory_xact_lock(hashtext('orders.history'));
    IF EXISTS (SELECT FROM history_month WHERE month = first AND dropped_at IS NULL) THEN
        RETURN;
    END IF;
    -- made and attached in two steps: neither readers nor writers of other months wait
    name := 'history_' || to_char(first, 'YYYY_MM');
    EXECUTE format('CREATE TABLE IF NOT EXISTS %I (LIKE history INCLUDING DEFAULTS)', name);
    EXECUTE format('ALTER TABLE history ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, first, next);
    INSERT INTO history_month (month, until) VALUES (first, next)
    ON CONFLICT (month) DO UPDATE SET dropped_at = NULL, made_at = now();
END $$;

-- For the administrator only: a whole month leaves. Its keys stay.
CREATE FUNCTION drop_history(at timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = orders, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    UPDATE history_month SET dropped_at = now() WHERE month = date_trunc('month', at);
    EXECUTE format('DROP TABLE IF EXISTS %I', 'history_' || to_char(at, 'YYYY_MM'));
END $$;

REVOKE EXECUTE ON FUNCTION make_history, drop_history FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_history TO mambogo_orders;

-- Every order there is, wherever its row lies, in one snapshot. Asked for by id it costs two index steps more; by owner
-- and time it goes month by month.
CREATE VIEW every_order AS
    SELECT o.* FROM orders o
    UNION ALL
    SELECT k.id, h.partition, h.owner, h.body_hash, h.version, h.status, h.reason, h.currency, h.total, h.refunded,
           h.capture_id, h.product_ids, h.quantities, h.unit_prices, h.shipping_address, h.payment_method,
           h.accepted_at, h.deadline, h.updated_at, h.timeline, h.seen, h.needs_human, h.actions
    FROM kept_key k JOIN history h ON h.id = k.id AND h.accepted_at = k.accepted_at;

GRANT SELECT ON history, kept_key, every_order TO mambogo_edge;
