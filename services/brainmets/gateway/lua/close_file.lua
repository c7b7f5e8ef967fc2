-- Closes a file of an upload with the digest its bytes were found to have.
local id, lifetime_ms, file, sha256 = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local upload = check_upload(id)
if upload ~= 'open' then
  return {upload}
end
if redis.call('HEXISTS', key('upload', id), file .. ':received_bytes') == 0 then
  return {'unopened'}
end
change_upload(id, lifetime_ms, file .. ':sha256', sha256)
return {'open', read_file(id, file)}
