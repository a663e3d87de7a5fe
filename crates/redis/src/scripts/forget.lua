-- KEYS: the index. ARGV: digests without a record. Those go that are due: one
-- that is not may be of a record about to be written.
for at = 3, #ARGV do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[at])
  if score and tonumber(score) <= redis.call('TIME')[1] * 1000 then
    redis.call('ZREM', KEYS[1], ARGV[at])
  end
end
return { 'OK' }
