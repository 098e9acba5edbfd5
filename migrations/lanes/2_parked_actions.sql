-- What was done about parked records: one row an action, written in the transaction that did it. An action is done once.
CREATE TABLE parked_action (
    action       uuid        PRIMARY KEY,
    topic        text        NOT NULL,
    partition    int         NOT NULL,
    "offset"     bigint      NOT NULL,               -- where the command lay
    key          bytea       NOT NULL,
    what         text        NOT NULL CHECK (what IN ('redrive', 'discard')),
    requested_by text        NOT NULL,
    reason       text,                               -- in their words
    selection    text,                               -- the frozen selection it belongs to
    named        bigint[]    NOT NULL,               -- offsets of the records meant
    ran          bigint[]    NOT NULL,               -- run without a fault, and parked no more
    discarded    bigint[]    NOT NULL,
    stopped_at   bigint,                             -- the one that failed again
    cause        text,                               -- why it did
    detail       text,
    result       text        NOT NULL CHECK (result IN ('done', 'failed_again', 'waits', 'continued', 'nothing')),
    remaining    bigint      NOT NULL,               -- records of the key still parked
    original     bytea,                              -- the payload that an edit replaced
    edited       bytea,                              -- and the one that ran instead
    next_action  uuid,                               -- goes on with the rest
    acted_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX parked_action_selection ON parked_action (selection) WHERE selection IS NOT NULL;
