-- Sources that were renewed after a restore, as they were: the last number that counts. What they had said beyond it is of
-- a history that their database has lost. Written by `mambogo lanes renew`, read with the claim.
ALTER TABLE lane ADD COLUMN ended jsonb NOT NULL DEFAULT '{}';
