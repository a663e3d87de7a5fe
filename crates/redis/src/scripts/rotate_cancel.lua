-- In a cluster: a rotation was refused. KEYS: the new session, still moving.
local head = read_head(KEYS[1])
if head and head.is_whole and head.is_known_version and head.kind == 'p' then
  redis.call('DEL', KEYS[1])
end
return { 'OK' }
