-- On a single node. KEYS: the old session, the new one. ARGV: both digests, revision it
-- is based on, value, TTL, subject, keep the index until, next revision, mark, its TTL.
local old, new, based_on, value, collect_at = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local subject, keep_until, next_revision = ARGV[8], ARGV[9], ARGV[10]
local head = read_head(KEYS[1])
local refused = refusal(head)
if refused then return { refused } end
if head.revision ~= based_on then return { 'CONFLICT' } end
if redis.call('EXISTS', KEYS[2]) == 1 then return { 'EXISTS' } end
check_room(KEYS[2])
announce(old, REVISION_LAST)
announce(new, next_revision)
check_unlist(head.target)
list(subject, new, collect_at, keep_until)
put(KEYS[2], value, collect_at)
put(KEYS[1], ARGV[11], ARGV[12])
unlist(head.target, old)
return { 'OK' }
