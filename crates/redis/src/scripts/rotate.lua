-- On a single node. KEYS: the old session, the new one. ARGV: as for LIST, of the new one,
-- then how the old head must begin, channel, the message of the old, that of the new,
-- value, mark, the lifetime of the mark, the old digest.
local head = redis.call('GETRANGE', KEYS[1], 0, HEAD_BYTES - 1)
if head:sub(1, 26) ~= ARGV[9] or head:byte(HEAD_BYTES) ~= NEWLINE then return { 'REFUSED', head } end
if redis.call('EXISTS', KEYS[2]) == 1 then return 'EXISTS' end
LIST
redis.call('PUBLISH', ARGV[10], ARGV[11])
redis.call('PUBLISH', ARGV[10], ARGV[12])
local left_index = head:byte(70) ~= DASH and ARGV[2] .. head:sub(70, 133)
if left_index then redis.call('ZREM', left_index, '') end -- fails, if it must, before the write
redis.call('SET', KEYS[2], ARGV[13], 'PX', ARGV[6])
redis.call('SET', KEYS[1], ARGV[14], 'PX', ARGV[15])
if left_index then redis.call('ZREM', left_index, ARGV[16]) end
return 'OK'
