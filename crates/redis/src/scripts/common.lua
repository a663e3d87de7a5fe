-- What every script begins with. ARGV[1] is the prefix of all keys. ARGV[2] is '1' on a
-- single node, where a script reaches every key, and '0' in a cluster, where a script
-- touches the keys that it is given and no other.
--
-- A server refuses each call of a script by itself (a missing right, another type), and
-- what it refuses must not be half done. So the record is written last, by one command
-- with its TTL; an index entry without its record is harmless. A call that must come
-- after the record is tried before it in a form that changes nothing.
local prefix, is_single = ARGV[1], ARGV[2] == '1'
local REVISION_LAST = '18446744073709551615'
local NO_SUBJECT = string.rep('-', 64)
local TIME = redis.call('TIME')
local NOW = TIME[1] * 1000 + math.floor(TIME[2] / 1000)

local function session_key(digest) return prefix .. 's:' .. digest end
local function index_key(subject) return prefix .. 'u:' .. subject end
local function announce(digest, revision)
  redis.call('PUBLISH', prefix .. 'changes', digest .. ' ' .. revision)
end

-- The fields of the head under a key; nil where the key holds nothing. A damaged
-- target reads as no subject, since a reply must be text.
local function read_head(key)
  local h = redis.call('GETRANGE', key, 0, HEAD_BYTES - 1)
  if h == '' then return nil end
  local target = h:sub(70, 133)
  local has_target = #target == 64 and not target:find('[^0-9a-f%-]')
  return {
    is_whole = #h == HEAD_BYTES and h:sub(1, 2) == 'cr' and h:sub(HEAD_BYTES) == '\n',
    is_known_version = h:sub(3, 4) == '1 ',
    kind = h:sub(5, 5),
    revision = h:sub(7, 26),
    expires_at = h:sub(28, 47),
    last_seen_at = h:sub(49, 68),
    has_target = has_target,
    target = has_target and target or NO_SUBJECT,
  }
end

-- Why nothing may be written over this head, or nil where it is a record's.
local function refusal(head)
  if not head then return 'GONE' end
  if not head.is_whole then return 'CORRUPT' end
  if not head.is_known_version then return 'UNSUPPORTED' end
  if head.kind ~= 'r' then return 'GONE' end
  return nil
end

-- Keeps an index until the given instant at least.
local function keep_index(key, until_at)
  local left = redis.call('PTTL', key)
  if left >= 0 and NOW + left >= tonumber(until_at) then return end
  redis.call('PEXPIREAT', key, until_at)
end

-- Adds an index entry, and answers up to four entries whose session was due to be gone
-- by now. The calls that the server may refuse come first: an index that got no TTL
-- would stay for ever.
local function add_entry(key, digest, collect_at, keep_until)
  local due = redis.call('ZRANGEBYSCORE', key, '-inf', NOW, 'LIMIT', 0, 4)
  redis.call('ZADD', key, 'XX', collect_at, digest)
  keep_index(key, keep_until)
  redis.call('ZADD', key, collect_at, digest)
  keep_index(key, keep_until)
  return due
end

-- Lists a session under its subject, and checks the entries that are due: each new
-- entry pays for the removal of some orphans, so an index grows with live sessions only.
local function list(subject, digest, collect_at, keep_until)
  if subject == NO_SUBJECT or not is_single then return end
  local key = index_key(subject)
  for _, other in ipairs(add_entry(key, digest, collect_at, keep_until)) do
    local left = other == digest and -1 or redis.call('PTTL', session_key(other))
    if left >= 0 then
      redis.call('ZADD', key, NOW + left, other)
    elseif left == -2 then
      redis.call('ZREM', key, other)
    end
  end
end

-- Fails where the server has no room: it says so at the first write of a script or not
-- at all, and only to a command that may need memory.
local function check_room(key)
  redis.call('SETRANGE', key, 0, '')
end

-- Fails where the user may not remove an entry once its record is gone.
local function check_unlist(subject)
  if subject == NO_SUBJECT or not is_single then return end
  redis.call('ZREM', index_key(subject), '')
end

local function unlist(subject, digest)
  if subject == NO_SUBJECT or not is_single then return end
  redis.call('ZREM', index_key(subject), digest)
end

-- Redis 6.0 has no PXAT.
local function put(key, value, collect_at)
  local left = math.max(tonumber(collect_at) - NOW, 1)
  redis.call('SET', key, value, 'PX', string.format('%.0f', left))
end

-- Follows rotation marks from a digest to the session's current one. Where that
-- cannot be reached, it answers nil and why: a logout must not pass for done.
local function resolve_rotations(digest)
  for _ = 0, ROTATION_HOPS_MAX do
    local head = read_head(session_key(digest))
    if not (head and head.is_whole and head.kind == 'm') then return digest end
    if not head.is_known_version then return nil, 'UNSUPPORTED' end
    if not head.has_target then return nil, 'CORRUPT' end
    digest = head.target
  end
  return nil, 'ROTATED_TOO_OFTEN'
end

-- Whether a deadline lies beyond the time for which the index outlives the record: as
-- long again as the session had to live when it was last written.
local function outlives_index(head, expires_at)
  local had = tonumber(head.expires_at) - tonumber(head.last_seen_at)
  return tonumber(expires_at) > tonumber(head.expires_at) + math.max(had, 0)
end
