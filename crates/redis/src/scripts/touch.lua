-- KEYS: the session. ARGV: revision, deadline, last seen, TTL, keep the index
-- until, whether the index is seen to.
local revision, expires_at, last_seen_at = ARGV[3], ARGV[4], ARGV[5]
local at, keep_until = ARGV[6], ARGV[7]
local h = head(KEYS[1])
local refused = refusal(h)
if refused then return { refused } end
if h.revision ~= revision then return { 'OK', NOBODY, '0' } end
may_put(KEYS[1])
-- Digits of equal length are in the order of their numbers.
local moves = expires_at > h.expires_at
if moves then
  if not alone and ARGV[8] == '0' and h.link ~= NOBODY and beyond(h, expires_at) then
    return { 'INDEX', h.link }
  end
  if alone and h.link ~= NOBODY then keep(index(h.link), keep_until) end
  -- First, since a TTL that is too long is harmless; and never so short that
  -- nothing stands there to be patched.
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.max(tonumber(at), NOW + 1000)))
  redis.call('SETRANGE', KEYS[1], 27, expires_at)
end
if last_seen_at > h.last_seen_at then
  redis.call('SETRANGE', KEYS[1], 48, last_seen_at)
end
return { 'OK', h.link, moves and '1' or '0' }
