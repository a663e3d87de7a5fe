-- In a cluster: a rotation was refused. KEYS: the new session, still moving.
if redis.call('GETRANGE', KEYS[1], 0, 4) == 'cr1 p' then redis.call('DEL', KEYS[1]) end
return 'OK'
