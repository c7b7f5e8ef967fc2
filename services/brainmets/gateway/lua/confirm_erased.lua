-- Takes an erased prefix off the list, unless it was put there again since.
local prefix, due_ms = ARGV[1], ARGV[2]
if tonumber(redis.call('ZSCORE', key('erasures'), prefix) or -1) == tonumber(due_ms) then
  redis.call('ZREM', key('erasures'), prefix)
end
return {}
