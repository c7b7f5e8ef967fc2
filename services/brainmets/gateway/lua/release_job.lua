-- Gives a held job back without counting the attempt. Its entry stays pending with a lease that has run out, so that
-- it is taken before every queued job.
local id, fence, entry_id, lease_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local hold = check_fence(id, fence)
if hold == 'held' then
  redis.call('XCLAIM', QUEUE, GROUP, CONSUMER, 0, entry_id, 'IDLE', lease_ms, 'JUSTID')
  redis.call('HINCRBY', key('job', id), 'attempt', -1)
  redis.call('HDEL', key('job', id), 'holder')
  change_job(id, 'state', 'queued', 'stage', 'none', 'tiles_done', 0, 'tiles_total', 0)
end
return {hold}
