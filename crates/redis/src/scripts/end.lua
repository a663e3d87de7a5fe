-- On a single node. ARGV: the prefix of sessions, that of indexes, digest, channel, the
-- tombstone and its lifetime, as for TOMBSTONE. Rotation marks are followed, and stay; a
-- damaged record is ended too. A session that has ended stays so, unless no trace of it is
-- to be left.
local at, tombstone, lifetime = ARGV[3], ARGV[5], ARGV[6]
RESOLVE
local has_ended = head:sub(1, 2) == 'cr' and head:sub(5, 5) == 't'
if head == '' or has_ended and tombstone ~= '' then return 'OK' end
redis.call('PUBLISH', ARGV[4], at .. ' ' .. REVISION_LAST)
local index = head:byte(HEAD_BYTES) == NEWLINE and head:byte(70) ~= DASH
  and ARGV[2] .. head:sub(70, 133)
if index then redis.call('ZREM', index, '') end -- fails, if it must, before the write
local key = ARGV[1] .. at
TOMBSTONE
if index then redis.call('ZREM', index, at) end
return 'OK'
