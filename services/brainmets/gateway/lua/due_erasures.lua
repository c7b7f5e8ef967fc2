-- Returns the prefixes that are due for erasure, at most ARGV[1], each followed by its due time.
return redis.call('ZRANGEBYSCORE', key('erasures'), '-inf', now_ms, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
