-- KEYS: the old one, the new one. ARGV: both digests, revision it is based on,
-- value, TTL, subject, keep the index until, next revision, mark, its TTL.
local old, new, based_on, value, at = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local subject, keep_until, next_revision = ARGV[8], ARGV[9], ARGV[10]
local h = head(KEYS[1])
local refused = refusal(h)
if refused then return { refused } end
if h.revision ~= based_on then return { 'CONFLICT' } end
if redis.call('EXISTS', KEYS[2]) == 1 then return { 'EXISTS' } end
may_put(KEYS[2])
tell(old, LAST)
tell(new, next_revision)
may_unlist(h.link)
list(subject, new, at, keep_until)
put(KEYS[2], value, at)
put(KEYS[1], ARGV[11], ARGV[12])
unlist(h.link, old)
return { 'OK' }
