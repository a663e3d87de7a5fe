-- What every script begins with. ARGV[1] is the prefix of all keys, ARGV[2] is
-- '1' where every key lies on this server and '0' in a cluster, where a script
-- touches the keys it is given and no other.
--
-- A server refuses any call of a script by itself (rights, another type), and what
-- it refuses must not be done. So the record is written last, by one command with
-- its TTL; an entry that its record does not follow is harmless. What still has to
-- come after the record is asked for before it, by a call that changes nothing.
local prefix, alone = ARGV[1], ARGV[2] == '1'
local LAST = '18446744073709551615'
local HEAD, NOBODY = 134, string.rep('-', 64)
local TIME = redis.call('TIME')
local NOW = TIME[1] * 1000 + math.floor(TIME[2] / 1000)

local function session(digest) return prefix .. 's:' .. digest end
local function index(subject) return prefix .. 'u:' .. subject end
local function tell(digest, revision)
  redis.call('PUBLISH', prefix .. 'changes', digest .. ' ' .. revision)
end

-- The head of what stands at a key, in parts; nil where nothing does. A link that
-- is damaged is nobody's: an answer is text.
local function head(key)
  local h = redis.call('GETRANGE', key, 0, HEAD - 1)
  if h == '' then return nil end
  local link = h:sub(70, 133)
  local linked = #link == 64 and not link:find('[^0-9a-f%-]')
  return {
    whole = #h == HEAD and h:sub(1, 2) == 'cr' and h:sub(HEAD) == '\n',
    known = h:sub(3, 4) == '1 ',
    kind = h:sub(5, 5),
    revision = h:sub(7, 26),
    expires_at = h:sub(28, 47),
    last_seen_at = h:sub(49, 68),
    linked = linked,
    link = linked and link or NOBODY,
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
  if left >= 0 and NOW + left >= tonumber(at) then return end
  redis.call('PEXPIREAT', key, at)
end

-- Entries whose record was to be gone by now, as it was last known here.
local function due(key, max)
  return redis.call('ZRANGEBYSCORE', key, '-inf', NOW, 'LIMIT', 0, max)
end

-- Adds an entry, and gives a few old ones. What may refuse it is asked before: an
-- index that was begun and got no TTL would stay for ever.
local function enter(key, digest, at, keep_until)
  local old = due(key, 4)
  redis.call('ZADD', key, 'XX', at, digest)
  keep(key, keep_until)
  redis.call('ZADD', key, at, digest)
  keep(key, keep_until)
  return old
end

-- Lists a session under its subject, and looks at a few old entries: each that
-- is added pays for some that go, so an index stays as long as its sessions are
-- many.
local function list(subject, digest, at, keep_until)
  if subject == NOBODY or not alone then return end
  local key = index(subject)
  for _, other in ipairs(enter(key, digest, at, keep_until)) do
    local left = other == digest and -1 or redis.call('PTTL', session(other))
    if left >= 0 then
      redis.call('ZADD', key, NOW + left, other)
    elseif left == -2 then
      redis.call('ZREM', key, other)
    end
  end
end

-- Fails where there is no room: a server that is full says so at the first write of
-- a script or not at all, and only to a command that may need some.
local function may_put(key)
  redis.call('SETRANGE', key, 0, '')
end

-- Fails where an entry may not be taken out once its record is gone.
local function may_unlist(subject)
  if subject == NOBODY or not alone then return end
  redis.call('ZREM', index(subject), '')
end

local function unlist(subject, digest)
  if subject == NOBODY or not alone then return end
  redis.call('ZREM', index(subject), digest)
end

-- Redis 6.0 has no PXAT.
local function put(key, value, at)
  local left = math.max(tonumber(at) - NOW, 1)
  redis.call('SET', key, value, 'PX', string.format('%.0f', left))
end

-- Follows rotation marks from a digest to the session's current one. Where that
-- cannot be reached, it answers nil and why: a logout must not pass for done.
local function resolve_rotations(digest)
  for _ = 0, ROTATION_HOPS_MAX do
    local h = head(session(digest))
    if not (h and h.whole and h.kind == 'm') then return digest end
    if not h.known then return nil, 'UNSUPPORTED' end
    if not h.linked then return nil, 'CORRUPT' end
    digest = h.link
  end
  return nil, 'ROTATED_TOO_OFTEN'
end

-- Whether a deadline lies further on than an index is kept beyond its records:
-- as long again as the session had to live when it was last written.
local function beyond(h, at)
  local had = tonumber(h.expires_at) - tonumber(h.last_seen_at)
  return tonumber(at) > tonumber(h.expires_at) + math.max(had, 0)
end
