-- Pasted: ends the session under `key`, whose value begins with `head`. In its place it puts
-- `tombstone`, for `lifetime` milliseconds, or nothing where that is ''. Whose session it was
-- is copied from one head to the other.
--
-- A server that is full may refuse the tombstone: the session ends all the same.
if tombstone == '' then
  redis.call('DEL', key)
else
  local value, subject = tombstone, head:sub(70, 133)
  if head:byte(HEAD_BYTES) == NEWLINE and not subject:find('[^0-9a-f]') then
    value = tombstone:sub(1, 69) .. subject .. tombstone:sub(134)
  end
  local put = redis.pcall('SET', key, value, 'PX', lifetime)
  if put.err then
    if not put.err:find('OOM', 1, true) then return put end
    redis.call('DEL', key)
  end
end
