-- On a single node, one step of a revocation. KEYS: the index. ARGV: the prefix of
-- sessions, channel, subject, 'all' | 'but' | 'one', digest, how many entries to look at,
-- the tombstone and its lifetime, as for TOMBSTONE. What has ended before stays as it is.
-- Answers 'OK', whether there are more ('1'), where the named session is now, and the
-- digests of the sessions that were ended. Each entry that is meant is gone afterwards, so
-- the next step begins behind.
local subject, which, at, max = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local tombstone, lifetime = ARGV[7], ARGV[8]
if which ~= 'all' then
RESOLVE
end
redis.call('ZREM', KEYS[1], '') -- fails, if it must, before a session is ended
-- One more, which may be the one to spare.
local entries = redis.call('ZRANGE', KEYS[1], 0, max)
local more = #entries > max and '1' or '0'
if which == 'one' then
  entries, more = redis.call('ZSCORE', KEYS[1], at) and { at } or {}, '0'
end
local reply = { 'OK', more, at }
local looks = 0
for _, digest in ipairs(entries) do
  if looks < max and not (which == 'but' and digest == at) then
    looks = looks + 1
    local key = ARGV[1] .. digest
    local head = redis.call('GETRANGE', key, 0, HEAD_BYTES - 1)
    local target = head:sub(70, 133)
    local kind = head:sub(1, 2) == 'cr' and head:sub(5, 5)
    -- A record that cannot be read is ended on the word of the index.
    local is_another = head:sub(1, 4) == 'cr1 ' and head:byte(HEAD_BYTES) == NEWLINE
      and not target:find('[^0-9a-f%-]') and target ~= subject
    if head ~= '' and kind ~= 'm' and kind ~= 't' and not is_another then
      redis.call('PUBLISH', ARGV[2], digest .. ' ' .. REVISION_LAST)
TOMBSTONE
      reply[#reply + 1] = digest
    end
    redis.call('ZREM', KEYS[1], digest)
  end
end
return reply
