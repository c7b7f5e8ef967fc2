-- Ends a held job with the reason why it has no result.
local id, fence, reason, status = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not ended_by(id, fence, 'failed') then
  local hold = check_fence(id, fence)
  if hold ~= 'held' then
    return {hold}
  end
  finish_job(id, 'failed', reason, 'failure_status', status)
end
return {'held', read_job(id)}
