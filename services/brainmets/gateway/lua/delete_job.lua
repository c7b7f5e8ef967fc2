-- Erases a job and its cache entry, whichever job that entry names; returns the prefixes to erase.
local id = ARGV[1]
local fields = redis.call('HMGET', key('job', id), 'state', 'cache_key')
if not fields[1] then
  return {'unknown'}
end
if fields[2] then
  redis.call('DEL', key('cache', fields[2]))
end
return {'erased', forget_job(id)}
