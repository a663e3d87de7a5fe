-- On a single node. ARGV: the prefix of sessions, that of indexes, digest, channel.
-- Rotation marks are followed, and stay; a damaged record is deleted too.
local at = ARGV[3]
RESOLVE
if head == '' then return 'OK' end
redis.call('PUBLISH', ARGV[4], at .. ' ' .. REVISION_LAST)
local index = head:byte(HEAD_BYTES) == NEWLINE and head:byte(70) ~= DASH
  and ARGV[2] .. head:sub(70, 133)
if index then redis.call('ZREM', index, '') end -- fails, if it must, before the write
redis.call('DEL', ARGV[1] .. at)
if index then redis.call('ZREM', index, at) end
return 'OK'
