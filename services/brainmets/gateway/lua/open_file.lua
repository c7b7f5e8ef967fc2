-- Opens a file of an upload at the offset it has been received to, or afresh at offset 0.
local id, lifetime_ms, file, media_type, sequence, offset =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local upload = check_upload(id)
if upload ~= 'open' then
  return {upload}
end
local fields = redis.call('HMGET', key('upload', id), file .. ':received_bytes', file .. ':parts')
local received = tonumber(fields[1] or 0)
if offset ~= 0 and offset ~= received then
  return {'offset', received}
end
if offset == 0 then
  for part in string.gmatch(fields[2] or '', '[^\n]+') do
    schedule_erasure(part)
  end
  redis.call('HSET', key('upload', id), file .. ':received_bytes', 0, file .. ':parts', '', file .. ':sha256', '')
  -- As an integer: Lua writes the double -0 as "-0", which Redis refuses.
  redis.call('HINCRBY', key('upload', id), 'received_bytes', string.format('%d', -received))
end
change_upload(id, lifetime_ms, file .. ':media_type', media_type, file .. ':sequence', sequence)
return {'open', read_file(id, file)}
