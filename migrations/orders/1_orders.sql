-- Orders. One row each; changed only in the lane of its partition.

-- No index (nor index predicate) names a column that an update changes, and a page keeps room for all its orders twice
-- over: then every status change is a HOT update, 21 against 56 µs an order. Orders of one batch lie side by side and
-- change together, and a row grows with its timeline (395, 467, 527 bytes with two lines), so a page is filled to
-- 395 / (467 + 527) = 40 %; at 50, one update in ten is not HOT. The two indexes still serve the usual queries: a
-- user's orders by status and date (often written as an index on (user_id, status, created_at)) reads the user's
-- newest orders and filters the status; pending orders past their time (often a partial index WHERE
-- status = 'PENDING') are found between a lane's due mark and now, where each order stands once.
CREATE TABLE orders (
    id               uuid        PRIMARY KEY,       -- derived from owner and idempotency key: one order per key
    partition        int         NOT NULL,
    owner            text        NOT NULL,          -- issuer, line feed, subject
    body_hash        bytea       NOT NULL,
    version          bigint      NOT NULL,
    status           text        NOT NULL,
    reason           text,
    currency         text        NOT NULL,
    total            bigint      NOT NULL,          -- minor units
    refunded         bigint      NOT NULL DEFAULT 0,
    capture_id       uuid,                          -- the capture asked for, once stock is held
    product_ids      uuid[]      NOT NULL,          -- the lines, as three arrays of one length
    quantities       int[]       NOT NULL,
    unit_prices      bigint[]    NOT NULL,
    shipping_address text        NOT NULL,
    payment_method   text        NOT NULL,
    accepted_at      timestamptz NOT NULL,
    deadline         timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    timeline         jsonb       NOT NULL,          -- [{"at": ms, "event": "…", "detail": "…"}], oldest first; no detail where there is none
    seen             jsonb,                         -- what a repeat must find, null for most: {"cancels": […], "refunds": […], "undone": […]}, ids all
    needs_human      jsonb                          -- effects that failed for good, null for most: [{"at": ms, "effectId", "reason"}]
) WITH (fillfactor = 40);
CREATE INDEX orders_of_owner ON orders (owner, accepted_at DESC, id DESC);
CREATE INDEX orders_due ON orders (partition, deadline);

GRANT SELECT ON orders TO mambogo_edge;
