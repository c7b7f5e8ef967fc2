-- Schedules the erasure of those folders, uploads/<id>/ and jobs/<id>/, that have no record, and counts them.
-- A record is written before its first file, and the folders were listed before this: so it was lost, or forgotten.
-- They stay for an hour. Whoever started Redis with the wrong data can so start it anew, and then nothing is scheduled.
local STRAY_GRACE_MS = 3600000
local count = 0
for _, folder in ipairs(ARGV) do
  local kind, id = string.match(folder, '^(%l+)s/(' .. string.rep('%x', 32) .. ')/$')
  if (kind == 'upload' or kind == 'job') and redis.call('EXISTS', key(kind, id)) == 0 then
    count = count + redis.call('ZADD', key('erasures'), 'NX', now_ms + STRAY_GRACE_MS, folder)
  end
end
return {count}
