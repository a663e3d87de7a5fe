-- In a cluster, the step of a rotation that counts: a compare-and-swap. KEYS: the old
-- session. ARGV: digest, revision it is based on, mark, its TTL.
local head = read_head(KEYS[1])
local refused = refusal(head)
if refused then return { refused } end
if head.revision ~= ARGV[4] then return { 'CONFLICT' } end
announce(ARGV[3], REVISION_LAST)
put(KEYS[1], ARGV[5], ARGV[6])
return { 'OK', head.target }
