-- In a cluster, one step of a delete or a revocation. KEYS: the session. ARGV:
-- digest, the subject it must be of or '', whether that subject's index has it:
-- one that cannot be read is ended on that word.
local digest, subject, listed = ARGV[3], ARGV[4], ARGV[5] == '1'
local h = head(KEYS[1])
if not h then return { 'NONE' } end
if h.whole and h.kind == 'm' then
  if not h.known then return { 'UNSUPPORTED' } end
  return { 'MARK', h.link }
end
if subject ~= '' then
  local reads = h.whole and h.known and h.linked
  if reads and h.link ~= subject then return { 'NONE' } end
  if not reads and not listed then return { 'NONE' } end
end
tell(digest, LAST)
redis.call('DEL', KEYS[1])
return { 'OK', h.whole and h.link or NOBODY }
