-- Where clients want to be told of their orders, and what they have not been told yet.

CREATE TABLE endpoints (
    id            uuid        PRIMARY KEY,
    owner         text        NOT NULL,     -- as in orders
    slot          smallint    NOT NULL,     -- an owner has so many: two that register at once cannot take one more
    url           text        NOT NULL,
    secret        text        NOT NULL,     -- signs what is sent; shown once, to whoever registered it
    created_at    timestamptz NOT NULL DEFAULT now(),
    failing_since timestamptz,              -- the first failure since the last success
    disabled_at   timestamptz,              -- nothing is sent any more, and nothing more is kept for it
    reason        text,                     -- the last failure, or why it is disabled
    UNIQUE (owner, slot)
);

-- One row for each event that an endpoint has not confirmed; gone once it has.
CREATE TABLE deliveries (
    endpoint_id   uuid        NOT NULL REFERENCES endpoints ON DELETE CASCADE,
    order_id      uuid        NOT NULL,
    version       bigint      NOT NULL,      -- of the order: its events are told in this order
    event_id      uuid        NOT NULL,      -- the same over all attempts
    body          text        NOT NULL,
    attempts      int         NOT NULL DEFAULT 0,
    failing_since timestamptz,               -- its first failure
    due_at        timestamptz NOT NULL DEFAULT now(),
    leased_until  timestamptz,               -- a worker is at it
    PRIMARY KEY (endpoint_id, order_id, version)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX deliveries_due ON deliveries (endpoint_id, due_at);
CREATE INDEX deliveries_leased ON deliveries (endpoint_id, leased_until) WHERE leased_until IS NOT NULL;

-- The last version of an order that became a delivery. The log may say a thing twice, and be read twice: what was told and is
-- gone must not come back after what followed it. Rows leave when the log itself has forgotten the order.
CREATE TABLE progress (
    endpoint_id uuid        NOT NULL REFERENCES endpoints ON DELETE CASCADE,
    order_id    uuid        NOT NULL,
    version     bigint      NOT NULL,
    moved_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (endpoint_id, order_id)
) WITH (fillfactor = 70);
CREATE INDEX progress_moved ON progress (moved_at);

-- the edge registers, lists, enables and removes, and never reads a secret or an event; nor does whoever audits read secrets
GRANT INSERT, DELETE, UPDATE (failing_since, disabled_at, reason) ON endpoints TO mambogo_edge;
GRANT SELECT (endpoint_id, failing_since), UPDATE (failing_since, due_at) ON deliveries TO mambogo_edge;
GRANT SELECT (id, owner, slot, url, created_at, failing_since, disabled_at, reason) ON endpoints TO mambogo_edge;
REVOKE SELECT ON endpoints FROM mambogo_audit;
GRANT SELECT (id, owner, slot, url, created_at, failing_since, disabled_at, reason) ON endpoints TO mambogo_audit;
