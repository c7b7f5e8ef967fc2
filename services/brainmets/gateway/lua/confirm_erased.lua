-- Takes an erased prefix off the list, unless it was put there again since.
local prefix, due_ms = ARGV[1], ARGV[2]
redis.call('ZREM', key('overdue_erasures'), prefix)
if tonumber(redis.call('ZSCORE', key('erasures'), prefix) or -1) == tonumber(due_ms) then
  redis.call('ZREM', key('erasures'), prefix)
end
return {}
