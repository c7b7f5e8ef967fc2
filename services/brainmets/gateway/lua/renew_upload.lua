-- Starts an upload's lifetime afresh.
local id, lifetime_ms = ARGV[1], ARGV[2]
local upload = check_upload(id)
if upload == 'open' then
  change_upload(id, lifetime_ms)
end
return {upload}
