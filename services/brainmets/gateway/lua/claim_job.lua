-- Gives a worker the next job: first one whose lease ran out, else the oldest queued one. Jobs past their deadline or
-- out of attempts are failed on the way. Without a job, tells the stream position from which to wait for a new one.
local worker, lease_ms, max_attempts, random = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]

-- Starts the entry's job, or ends it and returns nil.
local function start_job(entry)
  local entry_id, id = entry[1], entry[2][2]
  local fields = redis.call('HMGET', key('job', id), 'state', 'attempt', 'deadline_time_ms')
  if fields[1] ~= 'queued' and fields[1] ~= 'running' then
    leave_queue(entry_id)
    return nil
  end
  local remaining_ms = fields[3] - now_ms
  if remaining_ms <= 0 then
    end_job(id, 'failed', 'deadline_exceeded')
    return nil
  end
  if tonumber(fields[2]) >= max_attempts then
    end_job(id, 'failed', 'attempts_exhausted')
    return nil
  end
  -- The number alone would come again after a failover that loses this claim, and two workers would hold the job.
  local fence = redis.call('HINCRBY', key('job', id), 'attempt', 1) .. '-' .. random
  change_job(id, 'state', 'running', 'worker', worker, 'holder', fence,
    'stage', 'none', 'tiles_done', 0, 'tiles_total', 0)
  return {'claimed', id, entry_id, fence, remaining_ms, read_job(id)}
end

ensure_queue()
local cursor = '0-0'
repeat
  -- One at a time: reclaiming renews the lease of every entry it returns, also of those not started.
  local reply = redis.call('XAUTOCLAIM', QUEUE, GROUP, CONSUMER, lease_ms, cursor, 'COUNT', 1)
  cursor = reply[1]
  local claim = reply[2][1] and start_job(reply[2][1])
  if claim then
    return claim
  end
until cursor == '0-0'

while true do
  local reply = redis.call('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', 1, 'STREAMS', QUEUE, '>')
  if not reply then
    break
  end
  local claim = start_job(reply[1][2][1])
  if claim then
    return claim
  end
end

local stream = redis.call('XINFO', 'STREAM', QUEUE)
for index = 1, #stream, 2 do
  if stream[index] == 'last-generated-id' then
    return {'none', stream[index + 1]}
  end
end
