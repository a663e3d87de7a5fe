-- KEYS: the session. ARGV: digest, value, TTL, subject, keep the index until.
if redis.call('EXISTS', KEYS[1]) == 1 then return { 'EXISTS' } end
local digest, value, collect_at, subject, keep_until = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
check_room(KEYS[1])
list(subject, digest, collect_at, keep_until)
put(KEYS[1], value, collect_at)
return { 'OK' }
