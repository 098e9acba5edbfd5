-- A refund that failed for good may be tried again by an operator: how often it failed, and for which action it was
-- last tried again, so that no action is done twice. Notices name refunds by their capture: `refunds_of_capture` serves.

ALTER TABLE refunds
    ADD COLUMN failures     int NOT NULL DEFAULT 0,  -- times it failed for good, or was taken back by the provider
    ADD COLUMN retry_action uuid;                    -- the operator's action that it was last tried again for
UPDATE refunds SET failures = 1 WHERE state IN ('FAILED', 'REFUSED');
