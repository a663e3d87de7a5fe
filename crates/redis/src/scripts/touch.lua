-- KEYS: the session. ARGV: revision, deadline, last seen, TTL, keep the index until,
-- whether the index has been extended ('1'). Answers the subject, and whether the
-- deadline moved.
local revision, expires_at, last_seen_at = ARGV[3], ARGV[4], ARGV[5]
local collect_at, keep_until, is_index_extended = ARGV[6], ARGV[7], ARGV[8] == '1'
local head = read_head(KEYS[1])
local refused = refusal(head)
if refused then return { refused } end
if head.revision ~= revision then return { 'OK', NO_SUBJECT, '0' } end
check_room(KEYS[1])
-- Numbers of 20 digits compare as text.
local moves = expires_at > head.expires_at
if moves then
  if head.target ~= NO_SUBJECT then
    if is_single then
      keep_index(index_key(head.target), keep_until)
    elseif not is_index_extended and outlives_index(head, expires_at) then
      return { 'INDEX', head.target }
    end
  end
  -- The TTL comes first, since one that is too long is harmless. It is never so short
  -- that nothing is left to patch.
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.max(tonumber(collect_at), NOW + 1000)))
  redis.call('SETRANGE', KEYS[1], 27, expires_at)
end
if last_seen_at > head.last_seen_at then
  redis.call('SETRANGE', KEYS[1], 48, last_seen_at)
end
return { 'OK', head.target, moves and '1' or '0' }
