-- What the shop sells, as people see it. Stock here is a projection; inventory has the truth.

CREATE TABLE categories (
    id   int  PRIMARY KEY,
    slug text NOT NULL UNIQUE,
    name text NOT NULL
);

CREATE TABLE products (
    id             uuid        PRIMARY KEY,
    category_id    int         NOT NULL REFERENCES categories,
    name           text        NOT NULL,
    description    text        NOT NULL,
    price          bigint      NOT NULL CHECK (price > 0),  -- minor units
    currency       text        NOT NULL,
    is_active      boolean     NOT NULL DEFAULT true,
    stock_quantity bigint      NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX products_active_category ON products (is_active, category_id) WHERE is_active;
CREATE INDEX products_price_stock ON products (price, stock_quantity) WHERE is_active AND stock_quantity > 0;
CREATE INDEX products_updated ON products (updated_at, id);

GRANT SELECT ON categories, products TO mambogo_edge;
