-- Stock and money, compared over all services' books and the sandbox provider's own, once everything has settled.
-- Read by the role mambogo_audit. No row is good news; each row is a violation: what, about which id, and the figures.

WITH lines AS (
    SELECT h.order_id, h.state, line.product_id, line.quantity
    FROM inventory.holds h, UNNEST(h.product_ids, h.quantities) AS line (product_id, quantity)
),
stock AS (
    SELECT p.id,
           coalesce(sum(l.quantity) FILTER (WHERE l.state = 'held'), 0) AS held,
           coalesce(sum(l.quantity) FILTER (WHERE l.state = 'sold'), 0) AS sold
    FROM inventory.products p LEFT JOIN lines l ON l.product_id = p.id
    GROUP BY p.id
),
money AS (
    SELECT o.id, o.status, o.total, o.refunded,
           coalesce(sum(c.amount) FILTER (WHERE c.state = 'CAPTURED'), 0) AS captured,
           coalesce(sum(c.refunded) FILTER (WHERE c.state = 'CAPTURED'), 0) AS given_back,
           count(*) FILTER (WHERE c.state IN ('WAITING', 'CALLING')) AS unknown
    FROM orders.orders o LEFT JOIN payments.captures c ON c.order_id = o.id
    GROUP BY o.id
)
SELECT 'stock: initial + restocked is not available + held + sold' AS violation, p.id AS subject,
       format('%s + %s, %s + %s + %s', p.initial, p.restocked, p.available, p.held, p.sold) AS figures
FROM inventory.products p WHERE p.initial + p.restocked <> p.available + p.held + p.sold
UNION ALL
SELECT 'stock: the product''s row is not the sum of its holds', p.id,
       format('held %s, holds say %s; sold %s, holds say %s', p.held, s.held, p.sold, s.sold)
FROM inventory.products p JOIN stock s USING (id) WHERE p.held <> s.held OR p.sold <> s.sold
UNION ALL
SELECT 'stock: waiters counted are not those in the queue', p.id,
       format('%s, queue %s', p.waiting, (SELECT count(*) FROM inventory.waiters w WHERE w.product_id = p.id))
FROM inventory.products p
WHERE p.waiting <> (SELECT count(*) FROM inventory.waiters w WHERE w.product_id = p.id)
UNION ALL
SELECT 'stock: a hold or a wait without a live order', h.order_id, format('%s, order %s', h.state, o.status)
FROM inventory.holds h LEFT JOIN orders.orders o ON o.id = h.order_id
WHERE h.state IN ('held', 'waiting') AND NOT h.outside AND o.status IS DISTINCT FROM 'PENDING'
  AND o.status IS DISTINCT FROM 'RESERVED'
UNION ALL
SELECT 'stock: a confirmed order whose units are not sold', o.id, coalesce(h.state::text, 'no hold')
FROM orders.orders o LEFT JOIN inventory.holds h ON h.order_id = o.id
WHERE o.status = 'CONFIRMED' AND h.state IS DISTINCT FROM 'sold'
UNION ALL
SELECT 'stock: units sold to an order that is not confirmed', h.order_id, coalesce(o.status, 'no such order')
FROM inventory.holds h LEFT JOIN orders.orders o ON o.id = h.order_id
WHERE h.state = 'sold' AND NOT h.outside AND o.status IS DISTINCT FROM 'CONFIRMED'
UNION ALL
SELECT 'money: captured less given back is not what the order owes', id,
       format('%s: captured %s, given back %s, total %s, refunded %s', status, captured, given_back, total, refunded)
FROM money
WHERE status NOT IN ('PENDING', 'RESERVED')
  AND captured - given_back <> CASE WHEN status = 'CONFIRMED' THEN total - refunded ELSE 0 END
UNION ALL
SELECT 'money: a settled order with a capture not yet known', id, status FROM money
WHERE status NOT IN ('PENDING', 'RESERVED') AND unknown > 0
UNION ALL
SELECT 'provider: our books and its own differ', coalesce(c.id, ch.key),
       format('ours %s %s, given back %s; its %s %s, given back %s',
              c.state, c.amount, c.refunded, ch.state, ch.amount, ch.refunded)
FROM payments.captures c FULL JOIN sandbox.charges ch ON ch.key = c.id
WHERE (coalesce(c.state, '') = 'CAPTURED') <> (coalesce(ch.state, '') = 'CHARGED')
   OR (c.state = 'CAPTURED' AND (c.amount <> ch.amount OR c.refunded <> ch.refunded))
UNION ALL
SELECT 'provider: more than one charge for an order', order_id, count(*)::text
FROM sandbox.charges WHERE state = 'CHARGED' GROUP BY order_id HAVING count(*) > 1
UNION ALL
SELECT 'order: not settled', id, status FROM orders.orders WHERE status IN ('PENDING', 'RESERVED')
UNION ALL
SELECT 'order: needs a human', id, needs_human::text FROM orders.orders WHERE needs_human IS NOT NULL
ORDER BY 1, 2;
