-- On a single node. KEYS: the index. ARGV: subject, 'all' | 'but' | 'one', digest.
-- Answers 'OK' and the digests of the sessions that were ended.
local subject, which = ARGV[3], ARGV[4]
local named, unreachable
if which ~= 'all' then
  named, unreachable = resolve_rotations(ARGV[5])
  if not named then return { unreachable } end
end
local reply = { 'OK' }
redis.call('ZREM', KEYS[1], '') -- fails, if it must, before a session is ended
for _, digest in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if which == 'all' or (which == 'one') == (digest == named) then
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
