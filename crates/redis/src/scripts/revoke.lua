-- KEYS: the index. ARGV: subject, 'all' | 'but' | 'one', digest. Answers 'OK'
-- and what was ended.
local subject, which = ARGV[3], ARGV[4]
local meant, unreachable
if which ~= 'all' then
  meant, unreachable = resolve_rotations(ARGV[5])
  if not meant then return { unreachable } end
end
local ended = { 'OK' }
redis.call('ZREM', KEYS[1], '') -- what is ended is taken out after
for _, digest in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if which == 'all' or (which == 'one') == (digest == meant) then
    local h = head(session(digest))
    -- One that cannot be read is ended on the word of the index.
    if h and not (h.whole and h.known and h.linked and (h.kind == 'm' or h.link ~= subject)) then
      tell(digest, LAST)
      redis.call('DEL', session(digest))
      ended[#ended + 1] = digest
    end
    redis.call('ZREM', KEYS[1], digest)
  end
end
return ended
