-- Counts queued and running jobs and those beyond their deadline, and tells the age of the oldest queued one; for how
-- long the erasure has been due that waits longest, also one that was put off; and how many uploads are open.
local lease_ms = ARGV[1]
ensure_queue()
local queued, running, oldest = count_jobs(lease_ms)
if not oldest then
  local group = redis.call('XINFO', 'GROUPS', QUEUE)[1]
  for index = 1, #group, 2 do
    if group[index] == 'last-delivered-id' then
      oldest = redis.call('XRANGE', QUEUE, '(' .. group[index + 1], '+', 'COUNT', 1)[1]
    end
  end
end
local age_ms = oldest and math.max(0, now_ms - tonumber(string.match(oldest[1], '^%d+'))) or 0
local overdue_ms = 0
for _, index in ipairs({'erasures', 'overdue_erasures'}) do
  local first_due_ms = redis.call('ZRANGE', key(index), 0, 0, 'WITHSCORES')[2]
  overdue_ms = math.max(overdue_ms, now_ms - (first_due_ms or now_ms))
end
return {queued, running, age_ms, redis.call('ZCOUNT', key('deadlines'), '-inf', now_ms), overdue_ms,
  redis.call('ZCARD', key('uploads'))}
