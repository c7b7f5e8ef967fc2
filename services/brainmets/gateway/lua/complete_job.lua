-- Ends a held job with its result, and publishes the result in the cache unless it came from there.
local id, fence, result, artifacts, cache_key, from_cache = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if not ended_by(id, fence, 'succeeded') then
  local hold = check_fence(id, fence)
  if hold ~= 'held' then
    return {hold}
  end
  finish_job(id, 'succeeded', nil,
    'result', result, 'artifacts', artifacts, 'cache_key', cache_key, 'from_cache', from_cache)
  -- Else a wrong result that is asked for daily would renew its entry for ever, and outlive its mending.
  if cache_key ~= '' and from_cache == '0' then
    redis.call('SET', key('cache', cache_key), id)
  end
end
return {'held', read_job(id)}
