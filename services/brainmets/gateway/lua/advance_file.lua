-- Appends a stored part to a file of an upload; a repeated append of the same part changes nothing.
local id, lifetime_ms, file, offset, path, size, max_bytes =
  ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local upload = check_upload(id)
if upload ~= 'open' then
  return {upload}
end
local fields = redis.call('HMGET', key('upload', id), file .. ':received_bytes', file .. ':parts', 'received_bytes')
if not fields[1] then
  return {'unopened'}
end
local received, parts = tonumber(fields[1]), fields[2]
if received == offset + size and is_last_part(parts, path) then
  return {'open', read_file(id, file)}
end
if received ~= offset then
  return {'offset', received}
end
local total = tonumber(fields[3]) + size
if total > max_bytes then
  return {'too_large', total}
end
change_upload(id, lifetime_ms, 'received_bytes', total,
  file .. ':received_bytes', received + size, file .. ':parts', parts .. path .. '\n', file .. ':sha256', '')
return {'open', read_file(id, file)}
