-- Counts queued and running jobs and those beyond their deadline, and tells the age of the oldest queued one.
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
return {queued, running, age_ms, redis.call('ZCOUNT', key('deadlines'), '-inf', now_ms)}
