-- What operators did about effects that failed for good, and a table to find these by.

-- who, when, what and what came of it, in the order's own row and lane; null for nearly all:
-- [{"id", "effectId", "at": ms, "by", "why", "result": {"at": ms, "outcome": "done" | "failed_again" | "needless"}}]
ALTER TABLE orders ADD COLUMN actions jsonb;

-- The same as `orders.needs_human`, which no index may name: an order's changes are HOT. One row an effect that failed
-- for good and is not done; written with its order, read by lists and gauges.
CREATE TABLE failed_effects (
    order_id  uuid        NOT NULL,
    effect_id uuid        NOT NULL,
    reason    text        NOT NULL,
    since     timestamptz NOT NULL,
    PRIMARY KEY (order_id, effect_id)
);
INSERT INTO failed_effects (order_id, effect_id, reason, since)
SELECT o.id, f."effectId", f.reason, to_timestamp(f.at / 1000.0)
FROM orders o, jsonb_to_recordset(o.needs_human) AS f (at bigint, "effectId" uuid, reason text)
WHERE o.needs_human IS NOT NULL;
