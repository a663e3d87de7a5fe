-- On a single node. ARGV: the digest. Rotation marks are followed, and stay; a damaged
-- record is deleted too.
local digest, unreachable = resolve_rotations(ARGV[3])
if not digest then return { unreachable } end
local key = session_key(digest)
local head = read_head(key)
if not head then return { 'OK' } end
announce(digest, REVISION_LAST)
if head.is_whole then check_unlist(head.target) end
redis.call('DEL', key)
if head.is_whole then unlist(head.target, digest) end
return { 'OK' }
