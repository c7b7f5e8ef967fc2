-- Puts an erasure that failed off, unless it was put on the list again since: by as long as it has been overdue, so that
-- the pauses double, and by ten minutes at most.
local LONGEST_PAUSE_MS = 600000
local prefix, due_ms = ARGV[1], tonumber(ARGV[2])
if tonumber(redis.call('ZSCORE', key('erasures'), prefix) or -1) == due_ms then
  redis.call('ZREM', key('erasures'), prefix) -- a full Redis takes this first
  redis.call('ZADD', key('overdue_erasures'), 'NX', due_ms, prefix)
  local overdue_ms = now_ms - redis.call('ZSCORE', key('overdue_erasures'), prefix)
  redis.call('ZADD', key('erasures'), now_ms + math.min(overdue_ms, LONGEST_PAUSE_MS), prefix)
end
return {}
