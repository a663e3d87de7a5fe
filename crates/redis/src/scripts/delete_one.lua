-- In a cluster, one step of a delete or a revocation. KEYS: the session. ARGV: digest,
-- the subject that it must be of or '', whether that subject's index lists it ('1'):
-- a record that cannot be read is ended on the word of the index.
local digest, subject, is_listed = ARGV[3], ARGV[4], ARGV[5] == '1'
local head = read_head(KEYS[1])
if not head then return { 'NONE' } end
if head.is_whole and head.kind == 'm' then
  if not head.is_known_version then return { 'UNSUPPORTED' } end
  return { 'MARK', head.target }
end
if subject ~= '' then
  local is_readable = head.is_whole and head.is_known_version and head.has_target
  if is_readable and head.target ~= subject then return { 'NONE' } end
  if not is_readable and not is_listed then return { 'NONE' } end
end
announce(digest, REVISION_LAST)
redis.call('DEL', KEYS[1])
return { 'OK', head.is_whole and head.target or NO_SUBJECT }
