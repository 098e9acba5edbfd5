-- Contracts what 5 replaced. The functions stay for a gateway of the release before, which still names them; until it is
-- replaced it searches slowly, and rightly.

DROP INDEX products_search_by_price;
DROP INDEX products_search_by_id;
