-- The record that was read last, by which a topic that was made anew is known: its offset, and a fingerprint of it.
ALTER TABLE lane ADD COLUMN read_offset bigint;
ALTER TABLE lane ADD COLUMN read_fingerprint uuid;
