-- On a single node. KEYS: the session. ARGV: how the head must begin, deadline, last seen,
-- lifetime, the prefix of indexes, the lifetime of the index.
local head = redis.call('GETRANGE', KEYS[1], 0, HEAD_BYTES - 1)
if head:sub(1, 26) ~= ARGV[1] or head:byte(HEAD_BYTES) ~= NEWLINE then return { 'REFUSED', head } end
local expires_at, last_seen_at = head:sub(28, 47), head:sub(49, 68)
-- Numbers of 20 digits compare as text.
if ARGV[3] > last_seen_at then last_seen_at = ARGV[3] end
if ARGV[2] > expires_at then
  expires_at = ARGV[2]
  if head:byte(70) ~= DASH then
    local index = ARGV[5] .. head:sub(70, 133)
    if redis.call('PTTL', index) < tonumber(ARGV[4]) then redis.call('PEXPIRE', index, ARGV[6]) end
  end
  -- The TTL comes first, since one that is too long is harmless.
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
redis.call('SETRANGE', KEYS[1], 27, expires_at .. ' ' .. last_seen_at)
return 'OK'
