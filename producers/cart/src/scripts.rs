//! What changes a cart: one script a change, so that each happens wholly or not at all. Each has one key, so that it runs on
//! a Redis Cluster whatever moves there.
//!
//! A cart is a hash: `id` (random, of this life of the cart), `v` (its version), `p:<product>` (a quantity). A guest's cart
//! that is being merged has `for` as well, and is nobody's any more. What outlives the cart's life: what was checked out
//! last (`of`: id and version, `order`, `delivery`), until the next change; `m:<guest's cart>`, merged, and until when (ms)
//! that must be known; `c0` to `c15`, the last calls that changed something, and their number `n`: a call whose answer is
//! late is sent again, and made once.
//!
//! Each script answers `{verdict, products, hash}`.

/// A script with what all share: `key`, and words about it.
macro_rules! script {
    ($body:literal) => {
        concat!(
            r"
local key = KEYS[1]
local function get(field) return redis.call('HGET', key, field) end
local function answer(verdict, products)
  return {verdict, products or {}, verdict == 'done' and redis.call('HGETALL', key) or {}}
end
local function is_taken() return redis.call('HEXISTS', key, 'for') == 1 end
local function is_stale(expected)
  if expected == '' then return false end
  local id = get('id')
  return not id or expected ~= id .. '.' .. get('v')
end
local function is_made(call)
  for n = 0, 15 do
    if get('c' .. n) == call then return true end
  end
  return false
end
local function made(call)
  redis.call('HSET', key, 'c' .. redis.call('HINCRBY', key, 'n', 1) % 16, call)
end
local function lines()
  local count = 0
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, 2) == 'p:' then count = count + 1 end
  end
  return count
end
local function forget_order() redis.call('HDEL', key, 'of', 'order', 'delivery') end
local function begin(id)
  forget_order()
  redis.call('HSET', key, 'id', id, 'v', 0)
end
local function end_life()
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, 2) == 'p:' then redis.call('HDEL', key, field) end
  end
  redis.call('HDEL', key, 'id', 'v')
  forget_order()
end
",
            $body
        )
    };
}

/// Reads, and puts off the end. ARGV: time to live in ms.
pub(crate) const READ: &str = script!(
    r"
if is_taken() then return answer('gone') end
if get('id') then redis.call('PEXPIRE', key, ARGV[1]) end
return answer('done')
"
);

/// Changes one line. ARGV: the call, time to live in ms, state expected or '', id for a new cart or '', `set`, `add` or
/// `remove`, product, quantity, most lines, most units of a product.
pub(crate) const CHANGE: &str = script!(
    r"
local call, ttl, expected, new, how, line = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], 'p:' .. ARGV[6]
local quantity, most_lines, most_units = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
if is_taken() or (new == '' and not get('id')) then return answer('gone') end
if is_made(call) then return answer('done') end
if is_stale(expected) then return answer('stale') end
local held = tonumber(get(line) or '0')
local wanted = quantity
if how == 'add' then wanted = held + quantity elseif how == 'remove' then wanted = 0 end
if wanted > most_units then return answer('units') end
if held == 0 and wanted > 0 and lines() >= most_lines then return answer('lines') end
if wanted ~= held then
  if not get('id') then begin(new) end
  if wanted == 0 then redis.call('HDEL', key, line) else redis.call('HSET', key, line, wanted) end
  redis.call('HINCRBY', key, 'v', 1)
  made(call)
end
redis.call('PEXPIRE', key, ttl)
return answer('done')
"
);

/// Ends a cart's life. ARGV: the call, state expected or ''.
pub(crate) const CLEAR: &str = script!(
    r"
if is_taken() then return answer('gone') end
if is_made(ARGV[1]) then return answer('done') end
if is_stale(ARGV[2]) then return answer('stale') end
if redis.call('EXISTS', key) == 1 then
  made(ARGV[1])
  end_life()
end
return answer('done')
"
);

/// Ends the life of a cart that was checked out, if nobody changed it meanwhile. ARGV: its state, order, hash of address and
/// method, time to live in ms.
pub(crate) const EMPTY: &str = script!(
    r"
if is_stale(ARGV[1]) then return answer('stale') end
end_life()
redis.call('HSET', key, 'of', ARGV[1], 'order', ARGV[2], 'delivery', ARGV[3])
redis.call('PEXPIRE', key, ARGV[4])
return answer('done')
"
);

/// Makes a guest's cart a user's to merge: nobody else sees or changes it any more, and nothing puts off its end. ARGV: the
/// user.
pub(crate) const FREEZE: &str = script!(
    r"
local taker = get('for')
if not get('id') or (taker and taker ~= ARGV[1]) then return answer('gone') end
redis.call('HSET', key, 'for', ARGV[1])
return answer('done')
"
);

/// Adds a guest's lines to a user's cart, once. ARGV: the guest's cart, time in ms (now, and until when the merge must be
/// known), time to live in ms, id for a new cart, most merges known, most lines, most units of a product, then products and
/// quantities in turn. Answers with the products of which not all units had a place.
pub(crate) const MERGE: &str = script!(
    r"
local mark, now, ttl, new = 'm:' .. ARGV[1], tonumber(ARGV[2]), ARGV[4], ARGV[5]
local most_lines, most_units, cut, changed, known = tonumber(ARGV[7]), tonumber(ARGV[8]), {}, false, 0
if get(mark) then return answer('done') end
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.sub(field, 1, 2) == 'm:' then
    if tonumber(get(field)) < now then redis.call('HDEL', key, field) else known = known + 1 end
  end
end
if known >= tonumber(ARGV[6]) then return answer('lines') end
local count = lines()
if not get('id') then begin(new) end
for at = 9, #ARGV, 2 do
  local line, quantity = 'p:' .. ARGV[at], tonumber(ARGV[at + 1])
  local held = tonumber(get(line) or '0')
  local wanted = math.min(held + quantity, most_units)
  if held == 0 and count >= most_lines then wanted = 0 end
  if held == 0 and wanted > 0 then count = count + 1 end
  if wanted < held + quantity then cut[#cut + 1] = ARGV[at] end
  if wanted ~= held then
    redis.call('HSET', key, line, wanted)
    changed = true
  end
end
if changed then redis.call('HINCRBY', key, 'v', 1) end
redis.call('HSET', key, mark, ARGV[3])
redis.call('PEXPIRE', key, ttl)
return answer('done', cut)
"
);

/// Forgets a guest's cart that was merged. ARGV: its id.
pub(crate) const DROP: &str = script!(
    r"
if get('id') == ARGV[1] then redis.call('DEL', key) end
return answer('done')
"
);
