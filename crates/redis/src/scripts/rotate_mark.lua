-- In a cluster, the step of a rotation that counts: a compare-and-swap. KEYS: the old
-- session. ARGV: how its head must begin, channel, message, mark, lifetime. Answers the
-- subject.
local head = redis.call('GETRANGE', KEYS[1], 0, HEAD_BYTES - 1)
if head:sub(1, 26) ~= ARGV[1] or head:byte(HEAD_BYTES) ~= NEWLINE then return { 'REFUSED', head } end
redis.call('SETRANGE', KEYS[1], 0, '') -- asks for room
redis.call('PUBLISH', ARGV[2], ARGV[3])
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
return { 'OK', head:sub(70, 133) }
