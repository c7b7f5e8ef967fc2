-- Forgets what has outlived its lifetime, and ends overdue jobs.
-- ARGV[1] bounds each step, so that a backlog cannot hold Redis up.
local limit = ARGV[1]

local function due(index)
  return redis.call('ZRANGEBYSCORE', key(index), '-inf', now_ms, 'LIMIT', 0, limit)
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
  schedule_erasure('uploads/' .. redis.call('HGET', key('job', id), 'upload_id') .. '/')
end
for _, id in ipairs(due('deadlines')) do
  end_job(id, 'failed', 'deadline_exceeded')
end
return {}
