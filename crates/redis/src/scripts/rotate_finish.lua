-- In a cluster: the mark stands at the old session, so the moving one becomes a record.
-- KEYS: the new session. ARGV: channel, message.
local value = redis.call('GET', KEYS[1])
if not value then return 'GONE' end
if value:sub(1, 5) ~= 'cr1 p' or value:byte(HEAD_BYTES) ~= NEWLINE then return 'OK' end
redis.call('PUBLISH', ARGV[1], ARGV[2])
local record = 'cr1 r' .. value:sub(6, HEAD_BYTES) .. value:sub(HEAD_BYTES + 65)
redis.call('SET', KEYS[1], record, 'KEEPTTL')
return 'OK'
