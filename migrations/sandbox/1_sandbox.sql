-- The sandbox provider's own books, apart from ours: what it believes, whatever we heard of it.

CREATE TABLE charges (
    key        uuid        PRIMARY KEY,              -- the caller's idempotency key
    order_id   uuid        NOT NULL,
    amount     bigint      NOT NULL CHECK (amount > 0),  -- minor units
    currency   text        NOT NULL,
    method     text        NOT NULL,
    state      text        NOT NULL CHECK (state IN ('NONE', 'CHARGED', 'DECLINED')),
    refunded   bigint      NOT NULL DEFAULT 0 CHECK (refunded >= 0),
    charged_on int,                                  -- the call that takes the money, by the method; null: none does
    calls      int         NOT NULL DEFAULT 1,       -- how often it was asked for
    refused    int         NOT NULL DEFAULT 0,       -- how often the key came with another request
    created_at timestamptz NOT NULL DEFAULT now(),
    charged_at timestamptz,
    CONSTRAINT charges_refunds_within_amount CHECK (refunded <= amount),
    CONSTRAINT charges_refunds_of_charged CHECK (refunded = 0 OR state = 'CHARGED')
) WITH (fillfactor = 80);
CREATE INDEX charges_of_order ON charges (order_id);

CREATE TABLE refunds (
    key         uuid        PRIMARY KEY,
    charge      uuid        NOT NULL,                -- may name a charge that is not there: such a refund is refused
    amount      bigint      NOT NULL CHECK (amount > 0),
    currency    text        NOT NULL,
    state       text        NOT NULL CHECK (state IN ('NONE', 'REFUNDED', 'REFUSED')),
    calls       int         NOT NULL DEFAULT 1,
    refused     int         NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now(),
    refunded_at timestamptz
);
CREATE INDEX refunds_of_charge ON refunds (charge);
