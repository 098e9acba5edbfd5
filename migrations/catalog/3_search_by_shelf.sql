-- A search that costs the same for a word that all products hold and for one that few do: each order of the list is
-- cut into 64 shelves, and the index of words holds each word once a shelf. A page takes the shelves one by one.

-- The shelf of an id, by its first six bits: ids are random (versions 4 and 5), so that each has about as many products.
CREATE FUNCTION id_shelf(id uuid) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT get_byte(uuid_send(id), 0) >> 2 $$;

-- The shelf of a price, from 0 to 65: each reaches a quarter further than the one below.
CREATE FUNCTION price_shelf(price bigint) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT width_bucket(ln(price::float8), 0, 14, 64) $$;

-- What the index holds of a product: `17:` for its shelf, `17:/3` for its category there, `17:lamp` for each word.
-- Words of 500 characters and more are left out: nobody can search for them, and with a prefix they could be too long.
CREATE FUNCTION shelved(search tsvector, category int, shelf int) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT ('''' || shelf || ':'' ''' || shelf || ':/' || category || '''' || replace(
       ' ' || regexp_replace(strip(search)::text, '''(?:[^ ]{250}){2}[^ ]*', '', 'g'), ' ''', ' ''' || shelf || ':'))::tsvector $$;

-- What to ask the index for: all that may match on that shelf. What is excluded, and that words follow one another, the
-- product itself tells; a search that only excludes ('T') may match everything there.
CREATE FUNCTION on_shelf(query tsquery, category int, shelf int) RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT (CASE querytree(query) WHEN 'T' THEN '''' || shelf || ':''' ELSE
       '(' || regexp_replace(regexp_replace(querytree(query), '''((?:[^'']|'''')*)''', '''' || shelf || ':\1''', 'g'),
                             '<(-|\d+)>', '&', 'g') || ')' END
       || CASE WHEN category IS NULL THEN '' ELSE '&''' || shelf || ':/' || category || '''' END)::tsquery $$;

CREATE INDEX products_search_by_price ON products
    USING gin (shelved(search, category_id, price_shelf(price))) WITH (fastupdate = off) WHERE is_active;
CREATE INDEX products_search_by_id ON products
    USING gin (shelved(search, category_id, id_shelf(id))) WITH (fastupdate = off) WHERE is_active;
