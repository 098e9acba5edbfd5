-- A secret is replaced without an event that cannot be verified: for a while both sign.

ALTER TABLE endpoints
    ADD COLUMN old_secret text,        -- signs as well until `old_until`
    ADD COLUMN old_until  timestamptz;

-- The edge puts a new secret in the place of one that it cannot read. The one before the last signs no more.
CREATE FUNCTION replace_secret(endpoint uuid, of_owner text, new_secret text, overlap interval) RETURNS timestamptz
    LANGUAGE sql SECURITY DEFINER SET search_path = webhooks, pg_temp AS $$
    UPDATE endpoints SET secret = new_secret, old_secret = secret, old_until = now() + overlap
    WHERE id = endpoint AND owner = of_owner RETURNING old_until
$$;

REVOKE EXECUTE ON FUNCTION replace_secret FROM PUBLIC;
GRANT EXECUTE ON FUNCTION replace_secret TO mambogo_edge;
