-- In a cluster, the step of a rotation that counts. KEYS: the old session.
-- ARGV: digest, revision it is based on, mark, its TTL.
local h = head(KEYS[1])
local refused = refusal(h)
if refused then return { refused } end
if h.revision ~= ARGV[4] then return { 'CONFLICT' } end
tell(ARGV[3], LAST)
put(KEYS[1], ARGV[5], ARGV[6])
return { 'OK', h.link }
