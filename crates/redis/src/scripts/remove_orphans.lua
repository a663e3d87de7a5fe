-- KEYS: the index. ARGV: now, then digests, each with the milliseconds that its session
-- has left, or -1 where it is gone. An entry that is not due stays: its record may be
-- about to be written.
local now = tonumber(ARGV[1])
for i = 2, #ARGV, 2 do
  local digest, left = ARGV[i], tonumber(ARGV[i + 1])
  local score = redis.call('ZSCORE', KEYS[1], digest)
  if score and tonumber(score) <= now then
    if left >= 0 then
      redis.call('ZADD', KEYS[1], now + left, digest)
    else
      redis.call('ZREM', KEYS[1], digest)
    end
  end
end
return 'OK'
