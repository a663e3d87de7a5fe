-- In a cluster: the mark stands at the old session, so the moving one becomes a record.
-- KEYS: the new session. ARGV: digest, revision.
local head = read_head(KEYS[1])
if not head then return { 'GONE' } end
if not (head.is_whole and head.is_known_version) or head.kind ~= 'p' then return { 'OK' } end
local value = redis.call('GET', KEYS[1])
announce(ARGV[3], ARGV[4])
local record = value:sub(1, 4) .. 'r' .. value:sub(6, HEAD_BYTES) .. value:sub(HEAD_BYTES + 65)
redis.call('SET', KEYS[1], record, 'KEEPTTL')
return { 'OK' }
