-- On a single node. KEYS: the session. ARGV: as for LIST, then how the head must begin,
-- channel, message, value.
local head = redis.call('GETRANGE', KEYS[1], 0, HEAD_BYTES - 1)
if head:sub(1, 26) ~= ARGV[9] or head:byte(HEAD_BYTES) ~= NEWLINE then return { 'REFUSED', head } end
LIST
redis.call('PUBLISH', ARGV[10], ARGV[11])
local left_index = head:byte(70) ~= DASH and head:sub(70, 133) ~= ARGV[4]
  and ARGV[2] .. head:sub(70, 133)
if left_index then redis.call('ZREM', left_index, '') end -- fails, if it must, before the write
redis.call('SET', KEYS[1], ARGV[12], 'PX', ARGV[6])
if left_index then redis.call('ZREM', left_index, ARGV[3]) end
return 'OK'
