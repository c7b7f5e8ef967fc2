-- Closes a file of an upload with the digest its bytes were found to have, unless another writer has it by now. The
-- last part, '' for none, says which bytes they were, for each part has a path of its own.
local id, lifetime_ms, file, last_part, sha256 = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local upload = check_upload(id)
if upload ~= 'open' then
  return {upload}
end
local fields = redis.call('HMGET', key('upload', id), file .. ':received_bytes', file .. ':parts')
if not fields[1] then
  return {'unopened'}
end
if not is_last_part(fields[2], last_part) then
  return {'offset', tonumber(fields[1])}
end
change_upload(id, lifetime_ms, file .. ':sha256', sha256)
return {'open', read_file(id, file)}
