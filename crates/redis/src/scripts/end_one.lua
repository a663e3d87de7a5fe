-- In a cluster, one step of an end or a revocation. KEYS: the session. ARGV: channel,
-- message, the subject that it must be of or '', whether that subject's index lists it
-- ('1'): a record that cannot be read is ended on the word of the index; then the tombstone
-- and its lifetime, as for TOMBSTONE. A revocation leaves what has ended, and an end leaves
-- it unless no trace is to be left.
local key, tombstone, lifetime = KEYS[1], ARGV[5], ARGV[6]
local head = redis.call('GETRANGE', key, 0, HEAD_BYTES - 1)
if head == '' then return 'NONE' end
local is_whole, target = head:byte(HEAD_BYTES) == NEWLINE, head:sub(70, 133)
local kind = head:sub(1, 2) == 'cr' and head:sub(5, 5)
if kind == 'm' then
  if not is_whole then return 'CORRUPT' end
  if head:sub(3, 4) ~= '1 ' then return 'UNSUPPORTED' end
  return { 'MARK', target }
end
if kind == 't' and (tombstone ~= '' or ARGV[3] ~= '') then return 'NONE' end
if ARGV[3] ~= '' then
  local is_readable = is_whole and head:sub(1, 4) == 'cr1 ' and not target:find('[^0-9a-f%-]')
  if is_readable and target ~= ARGV[3] then return 'NONE' end
  if not is_readable and ARGV[4] ~= '1' then return 'NONE' end
end
redis.call('PUBLISH', ARGV[1], ARGV[2])
TOMBSTONE
return { 'OK', target }
