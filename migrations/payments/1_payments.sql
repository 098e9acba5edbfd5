-- Captures and refunds. Their rows are changed only in the lane of their order's partition.

-- fillfactor 50, and no index but the key: a capture's row is written when its call is about to be made and updated
-- when it is known, and that update stays HOT.
CREATE TABLE captures (
    id              uuid        PRIMARY KEY,         -- the effect, and the provider's idempotency key
    order_id        uuid        NOT NULL,
    state           text        NOT NULL CHECK (state IN ('WAITING', 'CALLING', 'CAPTURED', 'DECLINED', 'VOIDED')),
    amount          bigint      NOT NULL CHECK (amount >= 0),  -- minor units; 0 while only a void of it was heard
    currency        text        NOT NULL,            -- XXX while only a void of it was heard
    method          text        NOT NULL,
    deadline        timestamptz NOT NULL,            -- not begun after this
    void_asked      boolean     NOT NULL DEFAULT false,  -- undo it once it is known
    attempts        int         NOT NULL DEFAULT 0,  -- answers that left it unknown
    first_called_at timestamptz,                     -- null while no call can have been begun
    reference       text,                            -- the provider's own name for it
    reason          text,                            -- why it is declined, void, or still unknown
    refunding       bigint      NOT NULL DEFAULT 0 CHECK (refunding >= 0),  -- asked back, not known to be done
    refunded        bigint      NOT NULL DEFAULT 0 CHECK (refunded >= 0),
    created_at      timestamptz NOT NULL,
    settled_at      timestamptz,
    CONSTRAINT captures_refunds_within_amount CHECK (refunding + refunded <= amount),
    CONSTRAINT captures_refunds_of_captured CHECK (refunding + refunded = 0 OR state = 'CAPTURED'),
    CONSTRAINT captures_waiting_uncalled CHECK (state <> 'WAITING' OR first_called_at IS NULL)
) WITH (fillfactor = 50);

-- FAILED is the one that needs a human: its amount stays set aside in `refunding`, and a ResumeEffect tries it again.
CREATE TABLE refunds (
    id              uuid        PRIMARY KEY,         -- the effect; the provider's key while keys_spent is 0
    capture_id      uuid        NOT NULL REFERENCES captures,
    order_id        uuid        NOT NULL,
    state           text        NOT NULL
        CHECK (state IN ('WAITING', 'CALLING', 'REFUNDED', 'NEEDLESS', 'REFUSED', 'FAILED')),
    amount          bigint      CHECK (amount > 0),  -- minor units; null: all that is left, once the capture is known
    cause           text        NOT NULL,            -- why it was asked for
    attempts        int         NOT NULL DEFAULT 0,
    keys_spent      int         NOT NULL DEFAULT 0,  -- keys that the provider refused for good
    first_called_at timestamptz,
    reference       text,
    reason          text,
    created_at      timestamptz NOT NULL,
    settled_at      timestamptz,
    CONSTRAINT refunds_amount_known CHECK (amount IS NOT NULL OR state IN ('WAITING', 'NEEDLESS', 'REFUSED'))
) WITH (fillfactor = 50);
CREATE INDEX refunds_of_capture ON refunds (capture_id);

-- Effects to look at again. A row is deleted when its ResumeEffect is sent, and inserted anew if need be.
CREATE TABLE deferred (
    effect_id uuid        PRIMARY KEY,
    partition int         NOT NULL,
    due_at    timestamptz NOT NULL,
    order_id  uuid        NOT NULL,
    attempt   int         NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX deferred_due ON deferred (partition, due_at);
