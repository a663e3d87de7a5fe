-- KEYS: the session. ARGV: digest, revision it is based on, value, TTL, subject, keep the
-- index until, deadline, next revision, whether the index has been extended ('1').
-- Answers the subject, and whether the deadline moved.
local digest, based_on, value, collect_at = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local subject, keep_until, expires_at, next_revision = ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local is_index_extended = ARGV[11] == '1'
local head = read_head(KEYS[1])
local refused = refusal(head)
if refused then return { refused } end
if head.revision ~= based_on then return { 'CONFLICT' } end
if not is_single and not is_index_extended and subject ~= NO_SUBJECT
  and (head.target ~= subject or outlives_index(head, expires_at)) then
  return { 'INDEX', subject }
end
check_room(KEYS[1])
announce(digest, next_revision)
if head.target ~= subject then check_unlist(head.target) end
list(subject, digest, collect_at, keep_until)
put(KEYS[1], value, collect_at)
if head.target ~= subject then unlist(head.target, digest) end
return { 'OK', subject, expires_at > head.expires_at and '1' or '0' }
