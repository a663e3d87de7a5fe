-- In a cluster. KEYS: the session. ARGV: how the head must begin, deadline, last seen,
-- lifetime, whether the index has been extended ('1'). Answers the subject whose index
-- must be extended: before the write ('INDEX'), or after it.
local head = redis.call('GETRANGE', KEYS[1], 0, HEAD_BYTES - 1)
if head:sub(1, 26) ~= ARGV[1] or head:byte(HEAD_BYTES) ~= NEWLINE then return { 'REFUSED', head } end
local had, expires_at, last_seen_at = head:sub(28, 47), ARGV[2], head:sub(49, 68)
local moves, has_subject = expires_at > had, head:byte(70) ~= DASH
if moves then
  -- As in an update.
  local outlives = math.max(tonumber(had) - tonumber(last_seen_at), 0)
  if ARGV[5] ~= '1' and has_subject and tonumber(expires_at) > tonumber(had) + outlives then
    return { 'INDEX', head:sub(70, 133) }
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
else
  expires_at = had
end
if ARGV[3] > last_seen_at then last_seen_at = ARGV[3] end
redis.call('SETRANGE', KEYS[1], 27, expires_at .. ' ' .. last_seen_at)
return moves and has_subject and { 'OK', head:sub(70, 133) } or 'OK'
