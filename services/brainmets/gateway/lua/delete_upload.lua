-- Erases an upload that was not submitted; returns the prefix to erase.
local id = ARGV[1]
local upload = check_upload(id)
if upload ~= 'open' then
  return {upload}
end
return {'erased', {forget_upload(id)}}
