-- Notes how far a held job is.
local id, fence, stage, tiles_done, tiles_total = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local hold = check_fence(id, fence)
if hold == 'held' then
  change_job(id, 'stage', stage, 'tiles_done', tiles_done, 'tiles_total', tiles_total)
end
return {hold}
