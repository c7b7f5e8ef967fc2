-- Forgets what has outlived its lifetime, and ends overdue jobs.
-- ARGV[1] bounds each step, so that a backlog cannot hold Redis up.
local limit = ARGV[1]

local function due(index)
  return redis.call('ZRANGEBYSCORE', key(index), '-inf', now_ms, 'LIMIT', 0, limit)
end

-- Schedules the erasure of what a job was made of, and forgets where it lay, which takes by far the most memory: a series
-- is hundreds of files. That the upload was submitted stays known for as long as the job.
local function forget_input(id)
  local upload_id = redis.call('HGET', key('job', id), 'upload_id')
  local upload = key('upload', upload_id)
  local fields = redis.call('HMGET', upload, 'job_id', 'revision', 'expire_time_ms')
  redis.call('HDEL', key('job', id), 'files')
  if redis.call('UNLINK', upload) == 1 then
    redis.call('HSET', upload, 'job_id', fields[1], 'revision', fields[2], 'expire_time_ms', fields[3])
  end
  schedule_erasure('uploads/' .. upload_id .. '/')
end

-- What frees memory comes before what takes some.
for _, id in ipairs(due('uploads')) do
  forget_upload(id)
end
for _, id in ipairs(due('results')) do
  forget_job(id)
end
for _, id in ipairs(due('inputs')) do
  redis.call('ZREM', key('inputs'), id)
  forget_input(id)
end
for _, id in ipairs(due('deadlines')) do
  end_job(id, 'failed', 'deadline_exceeded')
end
return {}
