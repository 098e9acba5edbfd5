-- Lists and searches that an index serves whatever they ask, and stock that may change all day without touching one.

ALTER TABLE products
    ADD COLUMN version bigint NOT NULL DEFAULT 1,  -- grows by one with every change of what the catalogue says; stock has its own
    ADD COLUMN search  tsvector NOT NULL GENERATED ALWAYS AS (
        setweight(to_tsvector('english', name), 'A') || setweight(to_tsvector('english', description), 'B')
    ) STORED;

-- What inventory said last of a product. Apart from `products`, so that a sale is a HOT update of a narrow row:
-- `products.stock_quantity` stands in an index, and follows only when a product sells out or comes back.
CREATE TABLE stock (
    product_id uuid   PRIMARY KEY,
    available  bigint NOT NULL,
    version    bigint NOT NULL     -- inventory's: the newest wins
) WITH (fillfactor = 50);

-- a page is a walk along one of these, from its cursor on
CREATE INDEX products_by_price ON products (price, id) WHERE is_active;
CREATE INDEX products_in_stock_by_price ON products (price, id) WHERE is_active AND stock_quantity > 0;
CREATE INDEX products_of_category ON products (category_id, id) WHERE is_active;
CREATE INDEX products_of_category_by_price ON products (category_id, price, id) WHERE is_active;
-- written through at once: products change seldom, and a pending list would be searched by every reader
CREATE INDEX products_search ON products USING gin (search) WITH (fastupdate = off) WHERE is_active;

GRANT SELECT ON stock TO mambogo_edge;
