-- Counts queued and running jobs and those beyond their deadline, and tells the age of the oldest queued one.
ensure_queue()
local entries, pending = remaining_entries()
local group = redis.call('XINFO', 'GROUPS', QUEUE)[1]
local delivered
for index = 1, #group, 2 do
  if group[index] == 'last-delivered-id' then
    delivered = group[index + 1]
  end
end
local oldest = redis.call('XRANGE', QUEUE, '(' .. delivered, '+', 'COUNT', 1)[1]
local age_ms = oldest and math.max(0, now_ms - tonumber(string.match(oldest[1], '^%d+'))) or 0
return {entries - pending, pending, age_ms, redis.call('ZCOUNT', key('deadlines'), '-inf', now_ms)}
