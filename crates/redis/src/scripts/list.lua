-- Pasted into the scripts of a single node that put a session: asks for room, and lists
-- the session under its subject. ARGV: the prefix of sessions, that of indexes, digest,
-- subject, the instant from which the record may be collected, its lifetime, the lifetime
-- of the index, now.
--
-- A server says that it is full at the first write of a script or not at all, and only to
-- a command that may need memory: so it comes before PUBLISH and PEXPIRE, which count as
-- writes. An index that got no TTL would stay for ever: so PEXPIRE is tried before the
-- entry is added. The index is kept for as long as the record at least.
if ARGV[4]:byte() == DASH then
  redis.call('SETRANGE', KEYS[1], 0, '')
else
  local index = ARGV[2] .. ARGV[4]
  local left = redis.call('PTTL', index)
  if left < tonumber(ARGV[6]) then
    redis.call('SETRANGE', KEYS[1], 0, '')
    redis.call('PEXPIRE', index, ARGV[7])
  end
  if redis.call('ZADD', index, ARGV[5], ARGV[3]) == 1 then
    if left == -2 then redis.call('PEXPIRE', index, ARGV[7]) end
    -- Each new entry pays for the removal of some orphans, so that an index grows with
    -- live sessions only.
    for _, due in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', ARGV[8], 'LIMIT', 0, 4)) do
      local lives = due == ARGV[3] and -1 or redis.call('PTTL', ARGV[1] .. due)
      if lives >= 0 then
        redis.call('ZADD', index, tonumber(ARGV[8]) + lives, due)
      elseif lives == -2 then
        redis.call('ZREM', index, due)
      end
    end
  end
end
