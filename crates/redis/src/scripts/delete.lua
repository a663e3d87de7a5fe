-- ARGV: the digest. A mark is followed, and stays; what is damaged goes too.
local digest, unreachable = resolve_rotations(ARGV[3])
if not digest then return { unreachable } end
local key = session(digest)
local h = head(key)
if not h then return { 'OK' } end
tell(digest, LAST)
if h.whole then may_unlist(h.link) end
redis.call('DEL', key)
if h.whole then unlist(h.link, digest) end
return { 'OK' }
