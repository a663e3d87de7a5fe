-- In a cluster. KEYS: the index. ARGV: digest, the instant from which the record may be
-- collected, the lifetime of the index, now. Answers a few entries that are due, for the
-- caller to check. The order is that of LIST; a ZADD that adds nothing asks for room.
local left = redis.call('PTTL', KEYS[1])
if left < tonumber(ARGV[3]) then
  redis.call('ZADD', KEYS[1], 'XX', ARGV[2], ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
if left == -2 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
local reply = { 'OK' }
for _, due in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[4], 'LIMIT', 0, 4)) do
  if due ~= ARGV[1] then reply[#reply + 1] = due end
end
return reply
