-- On a single node, a session of a subject. KEYS: the session. ARGV: as for LIST, then
-- value.
if redis.call('EXISTS', KEYS[1]) == 1 then return 'EXISTS' end
LIST
redis.call('SET', KEYS[1], ARGV[9], 'PX', ARGV[6])
return 'OK'
