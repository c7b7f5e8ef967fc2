-- Starts the lease of a held job afresh.
local id, fence, entry_id = ARGV[1], ARGV[2], ARGV[3]
local hold = check_fence(id, fence)
if hold == 'held' then
  redis.call('XCLAIM', QUEUE, GROUP, CONSUMER, 0, entry_id, 'IDLE', 0, 'JUSTID')
end
return {hold}
