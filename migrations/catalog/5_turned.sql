-- The column of `products` that indexes name follows stock only when a product sells out or comes back. The row of the stock says
-- itself when that was, so nobody has to compare the two tables after every change.

ALTER TABLE stock ADD COLUMN turned bigint NOT NULL DEFAULT 0; -- the version at which it last sold out, or came back
