-- In a cluster. KEYS: the index. ARGV: digest, TTL, keep the index until.
-- Answers a few old entries, to be looked at.
redis.call('ZADD', KEYS[1], ARGV[4], ARGV[3])
keep(KEYS[1], ARGV[5])
local answer = { 'OK' }
for _, other in ipairs(due(KEYS[1], 4)) do
  if other ~= ARGV[3] then answer[#answer + 1] = other end
end
return answer
