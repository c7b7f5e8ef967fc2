-- Closes a file of an upload with the digest its bytes were found to have, unless it was begun anew meanwhile.
local id, lifetime_ms, file, offset, sha256 = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local upload = check_upload(id)
if upload ~= 'open' then
  return {upload}
end
local received = redis.call('HGET', key('upload', id), file .. ':received_bytes')
if not received then
  return {'unopened'}
end
if tonumber(received) ~= offset then
  return {'offset', tonumber(received)}
end
change_upload(id, lifetime_ms, file .. ':sha256', sha256)
return {'open', read_file(id, file)}
