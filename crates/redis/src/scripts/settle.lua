-- In a cluster: the mark stands at the old session, so that what was moving has
-- arrived. KEYS: the new session. ARGV: digest, revision.
local h = head(KEYS[1])
if not h then return { 'GONE' } end
if not (h.whole and h.known) or h.kind ~= 'p' then return { 'OK' } end
local value = redis.call('GET', KEYS[1])
tell(ARGV[3], ARGV[4])
local arrived = value:sub(1, 4) .. 'r' .. value:sub(6, HEAD) .. value:sub(HEAD + 65)
redis.call('SET', KEYS[1], arrived, 'KEEPTTL')
return { 'OK' }
