-- Accepts an upload as a queued job; a repeated request gets the job it made before.
local upload_id, upload_revision, request, job_id, max_queued, deadline_in_ms =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local lease_ms, input_lifetime_ms, result_lifetime_ms = ARGV[7], ARGV[8], ARGV[9]
local fingerprint, input_sha256, options, files, traceparent = ARGV[10], ARGV[11], ARGV[12], ARGV[13], ARGV[14]

local known = redis.call('GET', key('request', request))
if known then
  local fields = redis.call('HMGET', key('job', known), 'fingerprint', 'upload_id', 'options')
  -- The same upload has the same bytes, also when they are erased and nobody knows of what they were.
  if fields[1] == fingerprint or (fields[2] == upload_id and fields[3] == options) then
    return {'accepted', known, read_job(known)}
  end
  return {'reused'}
end

local upload = check_upload(upload_id)
if upload ~= 'open' then
  return {upload}
end
if redis.call('HGET', key('upload', upload_id), 'revision') ~= upload_revision then
  return {'changed'}
end
ensure_queue()
local queued = count_jobs(lease_ms)
if queued >= tonumber(max_queued) then
  return {'overloaded', queued}
end

local deadline_ms = now_ms + deadline_in_ms
redis.call('HSET', key('job', job_id),
  'state', 'queued', 'stage', 'none', 'tiles_done', 0, 'tiles_total', 0, 'attempt', 0, 'revision', 1,
  'create_time_ms', now_ms, 'update_time_ms', now_ms, 'deadline_time_ms', deadline_ms,
  'expire_time_ms', deadline_ms + result_lifetime_ms,
  'input_lifetime_ms', input_lifetime_ms, 'result_lifetime_ms', result_lifetime_ms,
  'request', request, 'fingerprint', fingerprint, 'input_sha256', input_sha256, 'upload_id', upload_id,
  'options', options, 'files', files, 'traceparent', traceparent,
  'entry_id', redis.call('XADD', QUEUE, '*', 'job_id', job_id))
redis.call('SET', key('request', request), job_id)
redis.call('ZADD', key('jobs'), redis.call('INCR', key('sequence')), job_id)
redis.call('ZADD', key('deadlines'), deadline_ms, job_id)
redis.call('ZREM', key('uploads'), upload_id) -- from here on the job decides how long its input lives
redis.call('HSET', key('upload', upload_id), 'job_id', job_id)
redis.call('HINCRBY', LEDGER, 'accepted', 1)
return {'accepted', job_id, read_job(job_id)}
