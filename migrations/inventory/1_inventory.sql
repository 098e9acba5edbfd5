-- Stock: units free, held and sold, who holds them, and who waits for them.
--
-- Locks are taken in one order: lane rows, product rows by id, hold rows by id. Waiters come and go only under the
-- lock of their product's row.

-- No index names a column that an update changes, and fillfactor is 50: every change is a HOT update.
CREATE TABLE products (
    id                 uuid   PRIMARY KEY,
    available          bigint NOT NULL CHECK (available >= 0),
    held               bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    sold               bigint NOT NULL DEFAULT 0 CHECK (sold >= 0),
    initial            bigint NOT NULL CHECK (initial >= 0),  -- units there were when the product was made known
    restocked          bigint NOT NULL DEFAULT 0,             -- sum of all adjustments applied; negative when more was taken
    version            bigint NOT NULL DEFAULT 1,             -- grows by one with every change of this row
    waiting            bigint NOT NULL DEFAULT 0 CHECK (waiting >= 0), -- rows of `waiters` that name it
    -- where the walk of its queue goes on; set if and only if one WalkQueue is under way
    cursor_accepted_at timestamptz,
    cursor_order_id    uuid,
    CONSTRAINT products_conservation CHECK (initial + restocked = available + held + sold),
    CONSTRAINT products_cursor CHECK ((cursor_accepted_at IS NULL) = (cursor_order_id IS NULL))
) WITH (fillfactor = 50);

-- of one size whatever it says: a changed row fits the room that fillfactor keeps for it
CREATE TYPE hold_state AS ENUM ('waiting', 'held', 'sold', 'released', 'rejected');

-- What became of each reserve. The row stays after its end, so that a reserve or settle that comes again finds it and
-- changes nothing. Lines never change; the state is read and changed only when all products of the lines are locked.
CREATE TABLE holds (
    order_id    uuid        PRIMARY KEY,
    partition   int         NOT NULL,   -- its lane
    outside     boolean     NOT NULL,   -- reserved by another system, not by an order: ends by itself at its deadline
    product_ids uuid[]      NOT NULL,   -- the lines, as two arrays of one length
    quantities  int[]       NOT NULL,
    accepted_at timestamptz NOT NULL,   -- with the order id: its place in the queues
    deadline    timestamptz NOT NULL,
    state       hold_state  NOT NULL,
    reason      text,                   -- why it was rejected: out_of_stock, unknown_product
    changed_at  timestamptz NOT NULL    -- when the state was decided
) WITH (fillfactor = 50);
CREATE INDEX holds_due ON holds (partition, deadline) WHERE outside;

-- The queues: one row for each line of a waiting reserve.
CREATE TABLE waiters (
    product_id  uuid        NOT NULL,
    accepted_at timestamptz NOT NULL,
    order_id    uuid        NOT NULL,
    quantity    int         NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (product_id, accepted_at, order_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
-- after a sale: who asks for more than there can ever be
CREATE INDEX waiters_asking ON waiters (product_id, quantity);

-- What became of each adjustment: applied once by its id, or refused.
CREATE TABLE adjustments (
    id           uuid        PRIMARY KEY,
    product_id   uuid        NOT NULL,
    delta        bigint      NOT NULL,
    outcome      text        NOT NULL CHECK (outcome IN ('applied', 'insufficient', 'unknown_product', 'out_of_range')),
    reason       text        NOT NULL,
    requested_by text        NOT NULL,
    decided_at   timestamptz NOT NULL
);

GRANT SELECT ON products, holds, adjustments TO mambogo_edge;
