-- On a single node, one step of a revocation. KEYS: the index. ARGV: subject,
-- 'all' | 'but' | 'one', digest, how many entries to look at. Answers 'OK', whether there
-- are more ('1'), where the named session is now, and the digests of the sessions that
-- were ended. Each entry that is meant is gone afterwards, so the next step begins behind.
local subject, which, named, max = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
if which ~= 'all' then
  local unreachable
  named, unreachable = resolve_rotations(named)
  if not named then return { unreachable } end
end
redis.call('ZREM', KEYS[1], '') -- fails, if it must, before a session is ended
-- One more, which may be the one to spare.
local entries = redis.call('ZRANGE', KEYS[1], 0, max)
local more = #entries > max and '1' or '0'
if which == 'one' then
  entries, more = redis.call('ZSCORE', KEYS[1], named) and { named } or {}, '0'
end
local reply = { 'OK', more, named }
local looks = 0
for _, digest in ipairs(entries) do
  if looks < max and not (which == 'but' and digest == named) then
    looks = looks + 1
    local head = read_head(session_key(digest))
    -- A record that cannot be read is ended on the word of the index.
    local is_readable = head and head.is_whole and head.is_known_version and head.has_target
    if head and not (is_readable and (head.kind == 'm' or head.target ~= subject)) then
      announce(digest, REVISION_LAST)
      redis.call('DEL', session_key(digest))
      reply[#reply + 1] = digest
    end
    redis.call('ZREM', KEYS[1], digest)
  end
end
return reply
