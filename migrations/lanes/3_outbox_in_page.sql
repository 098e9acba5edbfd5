-- A packed row is made to fit a page once it is compressed (its writer fills it to 12 KiB): it is kept there, and not cut
-- into pieces of 2 kB that have a table and an index of their own.
ALTER TABLE outbox ALTER COLUMN records SET STORAGE MAIN;
