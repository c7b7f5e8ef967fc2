-- Comes before every script of this folder: keys, the clock, and the steps that several transitions share.
-- KEYS[1] is the tenant's anchor, brainmets:{tenant}. Every other key begins with it and so has the same hash tag,
-- which keeps a script on one node of a clustered Redis. A reply's first element is a word; what follows depends on it.
-- A full Redis refuses a script's first write if it may take memory; after any other write it lets the script go on. So
-- what ends or forgets something begins with a write that frees, or a full Redis would stay full.
local anchor = KEYS[1]

local function key(...)
  return table.concat({anchor, ...}, ':')
end

local QUEUE = key('queue') -- stream of unfinished jobs: queued, or pending in the group
local LEDGER = key('ledger') -- hash of counters that only rise: jobs accepted, and how and when they ended
local GROUP = 'workers'
-- One consumer for all workers: the fence says who holds a job, and consumers of dead workers would pile up.
local CONSUMER = 'worker'
-- Whoever still writes to an erased prefix has heard by then that it must not (LONGEST_LEASE_S of runtime/settings.py);
-- then it is erased once more.
local ERASURE_GRACE_MS = 60000

local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function ensure_queue()
  if redis.call('EXISTS', QUEUE) == 0 then
    redis.call('XGROUP', 'CREATE', QUEUE, GROUP, '0', 'MKSTREAM')
  end
end

-- Counts the jobs that wait and those that are held, and tells the first entry of the former that was claimed before.
-- One whose lease ran out waits as well: it was given back, or its worker is gone.
local function count_jobs(lease_ms)
  local entries, pending = redis.call('XLEN', QUEUE), redis.call('XPENDING', QUEUE, GROUP)[1]
  local left = redis.call('XPENDING', QUEUE, GROUP, 'IDLE', lease_ms, '-', '+', math.max(pending, 1))
  return entries - pending + #left, pending - #left, left[1]
end

local function leave_queue(entry_id)
  redis.call('XACK', QUEUE, GROUP, entry_id)
  redis.call('XDEL', QUEUE, entry_id)
end

local function read_job(id)
  return redis.call('HGETALL', key('job', id))
end

local function change_job(id, ...)
  redis.call('HSET', key('job', id), 'update_time_ms', now_ms, ...)
  redis.call('HINCRBY', key('job', id), 'revision', 1)
  redis.call('PUBLISH', key('changed', id), '')
end

-- Counts the end of a job that was accepted, whoever ends it; job_ledger.py reads what is written here.
local function count_end(id, state, reason)
  local fields = redis.call('HMGET', key('job', id), 'state', 'create_time_ms')
  local turnaround_ms = now_ms - fields[2]
  local bound = 'inf'
  for _, bound_ms in ipairs(TURNAROUND_BOUNDS_MS) do
    if turnaround_ms <= bound_ms then
      bound = bound_ms
      break
    end
  end
  redis.call('HINCRBY', LEDGER, table.concat({'ended', state, reason, fields[1]}, ':'), 1)
  redis.call('HINCRBY', LEDGER, table.concat({'turnaround', state, bound}, ':'), 1)
  redis.call('HINCRBY', LEDGER, table.concat({'turnaround_ms', state}, ':'), turnaround_ms)
end

-- Ends a job, for a reason when it fails: out of the queue, counted, and its lifetimes begin.
local function finish_job(id, state, reason, ...)
  local fields = redis.call('HMGET', key('job', id), 'entry_id', 'input_lifetime_ms', 'result_lifetime_ms')
  redis.call('ZREM', key('deadlines'), id)
  leave_queue(fields[1])
  count_end(id, state, reason or 'none')
  if reason then
    redis.call('HSET', key('job', id), 'failure_reason', reason)
  end
  redis.call('ZADD', key('inputs'), now_ms + fields[2], id)
  redis.call('ZADD', key('results'), now_ms + fields[3], id)
  change_job(id, 'state', state, 'stage', 'none', 'expire_time_ms', now_ms + fields[3], ...)
end

-- Ends a job over the head of whoever holds it, whose words no longer count.
local function end_job(id, state, reason)
  redis.call('HDEL', key('job', id), 'holder')
  finish_job(id, state, reason)
end

-- 'held' by this fence, 'cancelled' (or erased), or 'stale'.
local function check_fence(id, fence)
  local fields = redis.call('HMGET', key('job', id), 'state', 'holder')
  if not fields[1] or fields[1] == 'cancelled' then
    return 'cancelled'
  end
  if fields[1] == 'running' and fields[2] == fence then
    return 'held'
  end
  return 'stale'
end

-- True when this fence has already ended the job so: the caller repeats itself after a lost reply.
local function ended_by(id, fence, state)
  local fields = redis.call('HMGET', key('job', id), 'state', 'holder')
  return fields[1] == state and fields[2] == fence
end

-- Returns {prefix, due time} after noting it for the sweep.
local function schedule_erasure(prefix)
  local due_ms = now_ms + ERASURE_GRACE_MS
  redis.call('ZADD', key('erasures'), due_ms, prefix)
  return {prefix, due_ms}
end

local function forget_upload(id)
  redis.call('DEL', key('upload', id))
  redis.call('ZREM', key('uploads'), id)
  return schedule_erasure('uploads/' .. id .. '/')
end

-- Removes every trace of a job but the two prefixes to be erased, which it returns.
local function forget_job(id)
  local fields = redis.call('HMGET', key('job', id), 'request', 'upload_id', 'cache_key', 'entry_id', 'state')
  for _, index in ipairs({'jobs', 'deadlines', 'inputs', 'results'}) do
    redis.call('ZREM', key(index), id)
  end
  leave_queue(fields[4])
  if fields[5] == 'queued' or fields[5] == 'running' then
    count_end(id, 'cancelled', 'none') -- who has a job erased wants no result of it
  end
  redis.call('DEL', key('job', id), key('request', fields[1]))
  if redis.call('GET', key('cache', fields[3] or '')) == id then
    redis.call('DEL', key('cache', fields[3]))
  end
  redis.call('PUBLISH', key('changed', id), '')
  return {schedule_erasure('jobs/' .. id .. '/'), forget_upload(fields[2])}
end

-- 'open' when an upload may be written to.
local function check_upload(id)
  local fields = redis.call('HMGET', key('upload', id), 'revision', 'job_id')
  if not fields[1] then
    return 'unknown'
  end
  return fields[2] == '' and 'open' or 'submitted'
end

local function change_upload(id, lifetime_ms, ...)
  redis.call('ZADD', key('uploads'), now_ms + lifetime_ms, id)
  redis.call('HSET', key('upload', id), 'expire_time_ms', now_ms + lifetime_ms, ...)
  redis.call('HINCRBY', key('upload', id), 'revision', 1)
end

-- True when a file's parts, a line each, end with this one, or when there is none and it is ''.
local function is_last_part(parts, path)
  if path == '' then
    return parts == ''
  end
  return string.sub(parts, -#path - 1) == path .. '\n'
end

-- Values of one file of an upload; the whole upload would grow with its files, and be read for each of them.
local function read_file(id, file)
  return redis.call('HMGET', key('upload', id),
    file .. ':media_type', file .. ':sequence', file .. ':parts', file .. ':received_bytes', file .. ':sha256')
end
