//! What runs inside Redis: each script is one step that nothing else comes between. The status worker's, which writes a
//! view by version, stands in `schemas::view`.

pub(crate) mod model;

#[cfg(test)]
mod drift;

use redis::Script;
use schemas::view;

/// KEYS: hash, since. ARGV: 1 run id, 2 random id for a new mark, 3 the mark that is proved, or empty, 4 owner,
/// 5 body hash, 6 claim id, 7 lease in ms, 8 time to live in ms, 9 the view's version 0. Returns mark, its age in ms,
/// outcome, ms left of somebody else's lease.
///
/// All times are the server's, so that gateways need not agree on the time. The view is written only under a proved
/// mark: before that it may be that of a body which an earlier record forestalls.
const CLAIM: &str = r"
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local mark = redis.call('GET', KEYS[2])
local run = ARGV[1] .. ' '
if not mark or string.sub(mark, 1, #run) ~= run then
  mark = run .. string.format('%.0f', now) .. ' ' .. ARGV[2]
  redis.call('SET', KEYS[2], mark)
end
local age = now - tonumber(string.match(mark, '^%S+ (%d+) '))
local known = redis.call('HMGET', KEYS[1], 'h', 'c', 'v')
local function lease(kind)
  local claim = 'f' .. string.format('%.0f', now + tonumber(ARGV[7])) .. ' ' .. ARGV[6] .. ' ' .. kind
  redis.call('HSET', KEYS[1], 'h', ARGV[5], 'c', claim)
  if mark == ARGV[3] and not known[3] then
    redis.call('HSET', KEYS[1], 'v', '0', 'o', ARGV[4], 's', 'PENDING', 'j', ARGV[9])
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[8])
  return kind
end
local outcome, left = nil, 0
if not known[1] then
  outcome = lease('new')
elseif known[2] == 'a' then
  outcome = known[1] == ARGV[5] and 'same' or 'settled-other'
else
  local ends, id, kind = string.match(known[2] or '', '^f(%d+) (%S+) (%S+)$')
  if known[1] ~= ARGV[5] then
    outcome = 'other'
  elseif id == ARGV[6] then
    outcome = kind
  elseif ends and tonumber(ends) > now then
    outcome = 'flight'
    left = tonumber(ends) - now
  else
    outcome = lease('taken')
  end
end
return {mark, age, outcome, left}
";

/// KEYS: hash, since. ARGV: mark of the claim, body hash. Returns 1 when the claim still holds under its mark.
const ANSWER: &str = r"
if redis.call('GET', KEYS[2]) ~= ARGV[1] or redis.call('HGET', KEYS[1], 'h') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'c', 'a')
return 1
";

/// KEYS: hash. ARGV: claim id. A new claim goes; one taken over only lapses: its first owner may have produced.
const RELEASE: &str = r"
local id, kind = string.match(redis.call('HGET', KEYS[1], 'c') or '', '^f%d+ (%S+) (%S+)$')
if id ~= ARGV[1] then return 0 end
if kind == 'new' then
  redis.call('HDEL', KEYS[1], 'h', 'c')
  if redis.call('HGET', KEYS[1], 'v') == '0' then redis.call('HDEL', KEYS[1], 'v', 'o', 's', 'j') end
else
  redis.call('HSET', KEYS[1], 'c', 'f0 - taken')
end
return 1
";

/// KEYS: since. ARGV: run id, random id. What was heard until now proves nothing any more.
const RENEW: &str = r"
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. string.format('%.0f', now) .. ' ' .. ARGV[2])
return 1
";

/// KEYS: hash, since. ARGV: a gateway that waits, or empty. Returns owner, version, status, JSON, body hash, claim, mark.
/// The mark is read last: one that is still there afterwards was there before.
const LOOK: &str = r"
if ARGV[1] ~= '' then
  local waiters = redis.call('HGET', KEYS[1], 'w')
  if not waiters then
    redis.call('HSET', KEYS[1], 'w', ARGV[1])
    if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], 60000) end
  elseif not string.find(waiters, ARGV[1], 1, true) and #waiters < 1024 then
    redis.call('HSET', KEYS[1], 'w', waiters .. ',' .. ARGV[1])
  end
end
local found = redis.call('HMGET', KEYS[1], 'o', 'v', 's', 'j', 'h', 'c')
found[7] = redis.call('GET', KEYS[2])
return found
";

/// All of them, ready to run.
pub(crate) struct Scripts {
    pub(crate) claim: Script,
    pub(crate) answer: Script,
    pub(crate) release: Script,
    pub(crate) renew: Script,
    pub(crate) look: Script,
    pub(crate) write: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            claim: Script::new(CLAIM),
            answer: Script::new(ANSWER),
            release: Script::new(RELEASE),
            renew: Script::new(RENEW),
            look: Script::new(LOOK),
            write: Script::new(view::WRITE_VIEW),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scripts spell the fields out; this ties them to the contract.
    #[test]
    fn fields_are_those_of_the_contract() {
        let fields = [
            view::OWNER,
            view::BODY_HASH,
            view::CLAIM,
            view::ANSWERED,
            view::VERSION,
            view::STATUS,
            view::JSON,
            view::WAITERS,
        ];
        assert_eq!(fields, ["o", "h", "c", "a", "v", "s", "j", "w"]);
    }
}
