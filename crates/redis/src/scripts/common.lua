-- What every script begins with. ARGV[1] is the prefix of all keys, ARGV[2] is
-- '1' where every key lies on this server and '0' in a cluster, where a script
-- touches the keys it is given and no other.
--
-- A script that publishes or writes an index does so before it writes a record:
-- those are what a server refuses by itself (rights, another type), and a script
-- must fail before its first write or not at all.
local prefix, alone = ARGV[1], ARGV[2] == '1'
local LAST = '18446744073709551615'
local HEAD, NOBODY = 134, string.rep('-', 64)
local HOPS_MAX = 32

local function session(digest) return prefix .. 's:' .. digest end
local function index(subject) return prefix .. 'u:' .. subject end
local function tell(digest, revision)
  redis.call('PUBLISH', prefix .. 'changes', digest .. ' ' .. revision)
end

-- The head of what stands at a key, in parts; nil where nothing does.
local function head(key)
  local h = redis.call('GETRANGE', key, 0, HEAD - 1)
  if h == '' then return nil end
  return {
    whole = #h == HEAD and h:sub(1, 2) == 'cr' and h:sub(HEAD) == '\n',
    known = h:sub(3, 4) == '1 ',
    kind = h:sub(5, 5),
    revision = h:sub(7, 26),
    expires_at = h:sub(28, 47),
    last_seen_at = h:sub(49, 68),
    link = h:sub(70, 133),
  }
end

-- Why what stands there takes no write, or nil where it is a record.
local function refusal(h)
  if not h then return 'GONE' end
  if not h.whole then return 'CORRUPT' end
  if not h.known then return 'UNSUPPORTED' end
  if h.kind ~= 'r' then return 'GONE' end
  return nil
end

-- Keeps an index until an instant at least.
local function keep(key, at)
  local left = redis.call('PTTL', key)
  if left >= 0 then
    local time = redis.call('TIME')
    if time[1] * 1000 + time[2] / 1000 + left >= tonumber(at) then return end
  end
  redis.call('PEXPIREAT', key, at)
end

-- Entries whose record was to be gone by now, as it was last known here.
local function due(key, max)
  local now = redis.call('TIME')[1] * 1000
  return redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, max)
end

-- Lists a session under its subject, and looks at a few old entries: each that
-- is added pays for some that go, so an index stays as long as its sessions are
-- many.
local function list(subject, digest, at, keep_until)
  if subject == NOBODY or not alone then return end
  local key = index(subject)
  redis.call('ZADD', key, at, digest)
  for _, other in ipairs(due(key, 4)) do
    local left = other == digest and -1 or redis.call('PTTL', session(other))
    if left >= 0 then
      redis.call('ZADD', key, redis.call('TIME')[1] * 1000 + left, other)
    elseif left == -2 then
      redis.call('ZREM', key, other)
    end
  end
  keep(key, keep_until)
end

local function unlist(subject, digest)
  if subject == NOBODY or not alone then return end
  redis.call('ZREM', index(subject), digest)
end

local function put(key, value, at)
  redis.call('SET', key, value)
  redis.call('PEXPIREAT', key, at)
end

-- Where the session of a digest stands now: marks are followed.
local function follow(digest)
  for _ = 1, HOPS_MAX do
    local h = head(session(digest))
    if not (h and h.whole and h.known and h.kind == 'm') then break end
    digest = h.link
  end
  return digest
end

-- Whether a deadline lies further on than an index is kept beyond its records:
-- as long again as the session had to live when it was last written.
local function beyond(h, at)
  local had = tonumber(h.expires_at) - tonumber(h.last_seen_at)
  return tonumber(at) > tonumber(h.expires_at) + math.max(had, 0)
end
