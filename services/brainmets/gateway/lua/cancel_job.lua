-- Ends a job at the client's wish; a job that has ended stays as it is.
local id = ARGV[1]
local state = redis.call('HGET', key('job', id), 'state')
if not state then
  return {'unknown'}
end
if state == 'queued' or state == 'running' then
  end_job(id, 'cancelled')
end
return {'found', read_job(id)}
