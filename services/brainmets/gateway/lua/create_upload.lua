-- Opens an upload.
local id, lifetime_ms, max_uploads = ARGV[1], ARGV[2], tonumber(ARGV[3])
local open = redis.call('ZCARD', key('uploads'))
if open >= max_uploads then
  return {'overloaded', open}
end
redis.call('HSETNX', key('upload', id), 'job_id', '')
change_upload(id, lifetime_ms)
return {'open', redis.call('HGETALL', key('upload', id))}
