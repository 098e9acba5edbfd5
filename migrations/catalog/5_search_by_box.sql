-- A search that costs the same for a word that all products hold, for one that one in fifty does, and for one that few
-- do: each order of the list is cut into boxes of about a thousandth of it, 64 boxes are a shelf, and the index holds
-- each word once a box, once a shelf, and once for all; once a shelf and category, too, and once a category. A page takes
-- boxes, shelves where those are nearly empty, and all the rest where those are.

-- The box of an id, by its first ten bits: ids are random (versions 4 and 5), so that each has about as many products.
CREATE FUNCTION id_box(id uuid) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT (get_byte(uuid_send(id), 0) << 2) | (get_byte(uuid_send(id), 1) >> 6) $$;

-- The box of a price, from 0 to 2,049: each reaches 0.7 % further than the one below.
CREATE FUNCTION price_box(price bigint) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT width_bucket(ln(price::float8), 0, 14, 2048) $$;

-- What the index holds of a product, behind each of its labels: the empty word, and all of its own. Labels: `170:` for its
-- box, `~2:` for its shelf, `:` for all; `~2/3:` and `/3:` for its category there. Words of 500 bytes and more are left
-- out: nobody can search for them, and with a label they could be too long.
CREATE FUNCTION boxed(search tsvector, category int, box int) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT array_to_tsvector(ARRAY(
       SELECT label || word
       FROM unnest(tsvector_to_array(search) || ''::text) word,
            unnest(ARRAY[box || ':', '~' || (box >> 6) || ':', '~' || (box >> 6) || '/' || category || ':',
                         ':', '/' || category || ':']) label
       WHERE octet_length(word) < 500)) $$;

-- What to ask the index for, with chr(1) where a box or a shelf may be named: all that may match there. That words follow
-- one another, only the product itself tells; where that is asked, what is excluded is left to it as well (querytree).
-- A search that a product with none of its words may match starts from all that is there ('T'). In PL/pgSQL, which a
-- session reads once: a function in SQL that cannot be inlined is parsed and planned with every search.
CREATE FUNCTION in_box(query tsquery, category int) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    label   text := '''' || chr(1) || coalesce('/' || category, '') || ':';
    open    boolean := querytree(query) = 'T';
    phrased boolean := query::text ~ '<(-|\d+)>';
    words   text := CASE WHEN phrased THEN querytree(query) ELSE query::text END;
BEGIN
    words := regexp_replace(words, '''((?:[^'']|'''')*)''', label || '\1''', 'g');
    words := '(' || regexp_replace(words, '<(-|\d+)>', '&', 'g') || ')';
    RETURN concat_ws('&', CASE WHEN open THEN label || '''' END, CASE WHEN NOT (open AND phrased) THEN words END);
END $$;

CREATE INDEX products_boxes_by_price ON products
    USING gin (boxed(search, category_id, price_box(price))) WITH (fastupdate = off) WHERE is_active;
CREATE INDEX products_boxes_by_id ON products
    USING gin (boxed(search, category_id, id_box(id))) WITH (fastupdate = off) WHERE is_active;
