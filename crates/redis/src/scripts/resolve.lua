-- Pasted: follows rotation marks from the digest `at` to where the session is, and leaves
-- in `head` how the value there begins. Where a mark cannot be followed it says why: a
-- logout must not pass for done.
local head
local hops = 0
repeat
  head = redis.call('GETRANGE', ARGV[1] .. at, 0, HEAD_BYTES - 1)
  local is_mark = head:sub(1, 2) == 'cr' and head:sub(5, 5) == 'm'
  if is_mark then
    at = head:sub(70, 133)
    if head:byte(HEAD_BYTES) ~= NEWLINE then return 'CORRUPT' end
    if head:sub(3, 4) ~= '1 ' then return 'UNSUPPORTED' end
    if at:find('[^0-9a-f]') then return 'CORRUPT' end
    if hops == ROTATION_HOPS_MAX then return 'ROTATED_TOO_OFTEN' end
    hops = hops + 1
  end
until not is_mark
