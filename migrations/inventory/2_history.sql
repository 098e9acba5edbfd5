-- Flat growth: holds at their end move to monthly partitions, which leave by DROP (orders/3_history.sql says how).

-- A lane finds its own in the order they were accepted; no change of a hold touches these columns.
CREATE INDEX holds_by_age ON holds (partition, accepted_at, order_id);

-- The columns of `holds`, in their order.
CREATE TABLE hold_history (
    LIKE holds INCLUDING DEFAULTS,
    PRIMARY KEY (order_id, accepted_at)
) PARTITION BY RANGE (accepted_at);

CREATE TABLE history_month (
    month      timestamptz PRIMARY KEY,
    until      timestamptz NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT now(),
    dropped_at timestamptz
);

-- Units sold by holds that have left by DROP: stock is compared with the holds there are, and this.
CREATE TABLE sold_before (
    product_id uuid   PRIMARY KEY,
    units      bigint NOT NULL
);

CREATE FUNCTION make_history(at timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = inventory, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    first timestamptz := date_trunc('month', at);
    next timestamptz := first + interval '1 month';
    name text;
BEGIN
    IF first > now() + interval '1 month' THEN
        RAISE EXCEPTION 'the month of % is too far ahead', at;
    END IF;
    -- two lanes may want the same month at once
    PERFORM pg_advisory_xact_lock(hashtext('inventory.history'));
    IF EXISTS (SELECT FROM history_month WHERE month = first AND dropped_at IS NULL) THEN
        RETURN;
    END IF;
    -- made and attached in two steps: neither readers nor writers of other months wait
    name := 'hold_history_' || to_char(first, 'YYYY_MM');
    EXECUTE format('CREATE TABLE IF NOT EXISTS %I (LIKE hold_history INCLUDING DEFAULTS)', name);
    EXECUTE format('ALTER TABLE hold_history ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, first, next);
    INSERT INTO history_month (month, until) VALUES (first, next)
    ON CONFLICT (month) DO UPDATE SET dropped_at = NULL, made_at = now();
END $$;

-- The units that its holds sold are added up in the same transaction, so stock adds up before and after.
CREATE FUNCTION drop_history(at timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = inventory, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    name text := 'hold_history_' || to_char(at, 'YYYY_MM');
BEGIN
    IF to_regclass(name) IS NULL THEN
        RETURN;
    END IF;
    -- nobody moves a row into it, or takes one back, between the sum and the drop; readers do not wait for the sum
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', name);
    EXECUTE format(
        'INSERT INTO sold_before AS b (product_id, units)
         SELECT line.product_id, sum(line.quantity)
         FROM %I, UNNEST(product_ids, quantities) AS line (product_id, quantity) WHERE state = ''sold'' GROUP BY 1
         ON CONFLICT (product_id) DO UPDATE SET units = b.units + EXCLUDED.units', name);
    UPDATE history_month SET dropped_at = now() WHERE month = date_trunc('month', at);
    EXECUTE format('DROP TABLE %I', name);
END $$;

REVOKE EXECUTE ON FUNCTION make_history, drop_history FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_history TO mambogo_inventory;

CREATE VIEW every_hold AS SELECT * FROM holds UNION ALL SELECT * FROM hold_history;

GRANT SELECT ON hold_history, every_hold TO mambogo_edge;
