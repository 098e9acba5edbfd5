-- The consumer machine's own tables, the same in the schema of every service that has lanes.

-- A worker's place in a partition. One row each; only its owner moves it, in the transaction of the effects.
CREATE TABLE lane (
    consumer_group text        NOT NULL,
    topic          text        NOT NULL,
    partition      int         NOT NULL,
    id             uuid        NOT NULL,            -- this life of the lane; drawn anew when it is recreated
    partitions     int         NOT NULL,            -- the topic's partition count that the lanes were made for
    epoch          bigint      NOT NULL DEFAULT 0,  -- the fence: a claim adds one
    next_offset    bigint      NOT NULL,            -- the first offset not yet applied
    outbox_seq     bigint      NOT NULL DEFAULT 0,  -- last packed row written
    due_mark       timestamptz NOT NULL DEFAULT '1970-01-01Z', -- all due times up to here have been seen to
    heard          jsonb       NOT NULL DEFAULT '{}', -- per source lane: last number taken, first one refused
    sent           jsonb       NOT NULL DEFAULT '{}', -- per destination partition: last number given
    PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 50);

-- What a lane says, one packed row a batch, in commit order. Deleted by the relay when all of it is acknowledged.
CREATE TABLE outbox (
    lane       uuid        NOT NULL,
    seq        bigint      NOT NULL,
    format     smallint    NOT NULL,
    records    bytea       NOT NULL,
    size       int         NOT NULL,                -- bytes of `records`, for bounds without reading them
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (lane, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE outbox ALTER COLUMN records SET COMPRESSION lz4;

-- Which relay sends a lane. A lease only saves work: all stays right when two relays send everything.
CREATE TABLE relay_lease (
    lane       uuid        PRIMARY KEY,
    holder     uuid        NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Records that were rejected, and their key's later records behind them.
CREATE TABLE parked (
    topic     text        NOT NULL,
    partition int         NOT NULL,
    "offset"  bigint      NOT NULL,
    key       bytea       NOT NULL,
    source    uuid,                                 -- the sending lane; null from the edge
    n         bigint,                               -- its number there
    logged_at timestamptz NOT NULL,                 -- the log's timestamp
    header    bytea,                                -- the envelope as it was read
    record    bytea       NOT NULL,                 -- the payload, unchanged
    cause     text        NOT NULL,                 -- fingerprint: decode, unknown_schema, illegal_transition, behind, …
    detail    text        NOT NULL,
    attempts  int         NOT NULL DEFAULT 1,
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, "offset")
);
CREATE INDEX parked_key ON parked (topic, partition, key, "offset");

GRANT SELECT (consumer_group, topic, partition, id, sent) ON lane TO mambogo_relay;
GRANT SELECT, DELETE ON outbox TO mambogo_relay;
GRANT SELECT, INSERT, UPDATE, DELETE ON relay_lease TO mambogo_relay;
GRANT SELECT ON lane, parked TO mambogo_edge;
GRANT SELECT (lane, seq, size, created_at) ON outbox TO mambogo_edge;
