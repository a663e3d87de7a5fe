-- In a cluster. KEYS: the session. ARGV: how the head must begin, channel, message,
-- value, lifetime, subject, deadline, whether the index has been extended ('1'). Answers
-- the subject whose index must be extended: before the write ('INDEX'), or after it.
local head = redis.call('GETRANGE', KEYS[1], 0, HEAD_BYTES - 1)
if head:sub(1, 26) ~= ARGV[1] or head:byte(HEAD_BYTES) ~= NEWLINE then return { 'REFUSED', head } end
local had, has = head:sub(28, 47), ARGV[7]
if ARGV[8] ~= '1' and ARGV[6]:byte() ~= DASH then
  -- An index outlives its record by as long again as the session had to live when it was
  -- last written.
  local outlives = math.max(tonumber(had) - tonumber(head:sub(49, 68)), 0)
  if head:sub(70, 133) ~= ARGV[6] or tonumber(has) > tonumber(had) + outlives then
    return { 'INDEX', ARGV[6] }
  end
end
redis.call('SETRANGE', KEYS[1], 0, '') -- asks for room
redis.call('PUBLISH', ARGV[2], ARGV[3])
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
-- Numbers of 20 digits compare as text.
return has > had and { 'OK', ARGV[6] } or 'OK'
