-- KEYS: the session. ARGV: digest, revision it is based on, value, TTL, subject,
-- keep the index until, deadline, next revision, whether the index is seen to.
local digest, based_on, value, at = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local subject, keep_until, expires_at, next_revision = ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local h = head(KEYS[1])
local refused = refusal(h)
if refused then return { refused } end
if h.revision ~= based_on then return { 'CONFLICT' } end
if not alone and ARGV[11] == '0' and subject ~= NOBODY
  and (h.link ~= subject or beyond(h, expires_at)) then
  return { 'INDEX' }
end
may_put(KEYS[1])
tell(digest, next_revision)
if h.link ~= subject then may_unlist(h.link) end
list(subject, digest, at, keep_until)
put(KEYS[1], value, at)
if h.link ~= subject then unlist(h.link, digest) end
return { 'OK', h.link, expires_at > h.expires_at and '1' or '0' }
