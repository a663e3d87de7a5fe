-- ARGV: the digest. A mark is followed, and stays; what is damaged goes too.
local digest = follow(ARGV[3])
local key = session(digest)
local h = head(key)
if not h then return { 'OK' } end
if h.whole and h.kind == 'm' then return { h.known and 'OK' or 'UNSUPPORTED' } end
tell(digest, LAST)
if h.whole then may_unlist(h.link) end
redis.call('DEL', key)
if h.whole then unlist(h.link, digest) end
return { 'OK' }
