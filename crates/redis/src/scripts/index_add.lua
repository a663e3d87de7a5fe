-- In a cluster. KEYS: the index. ARGV: digest, TTL, keep the index until. Answers a few
-- entries that are due, for the caller to check.
local reply = { 'OK' }
for _, other in ipairs(add_entry(KEYS[1], ARGV[3], ARGV[4], ARGV[5])) do
  if other ~= ARGV[3] then reply[#reply + 1] = other end
end
return reply
