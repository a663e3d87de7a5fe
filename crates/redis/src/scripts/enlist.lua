-- In a cluster. KEYS: the index. ARGV: digest, TTL, keep the index until.
-- Answers a few old entries, to be looked at.
local answer = { 'OK' }
for _, other in ipairs(enter(KEYS[1], ARGV[3], ARGV[4], ARGV[5])) do
  if other ~= ARGV[3] then answer[#answer + 1] = other end
end
return answer
