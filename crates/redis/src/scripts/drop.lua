-- In a cluster: a rotation was refused. KEYS: what was moving.
local h = head(KEYS[1])
if h and h.whole and h.known and h.kind == 'p' then redis.call('DEL', KEYS[1]) end
return { 'OK' }
