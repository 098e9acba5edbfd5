-- A capture's row grows by the provider's reference when it is known (200 and 250 bytes): captures of a batch lie side by
-- side and are known together, so at fillfactor 50 three updates in ten found no room in their page and were not HOT.
ALTER TABLE captures SET (fillfactor = 40);
