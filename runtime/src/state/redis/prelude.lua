-- Answers nothing while not loaded: the generation was never written, was wiped, or was written under another life of
-- the server, which may have forgotten the last second of it.
local generation = redis.call('GET', KEYS[1])
if not generation then return false end
local life = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if life ~= string.match(generation, '^%x+') then return false end
-- Another generation has other keys: the caller asks again.
if generation ~= ARGV[1] then return generation end
local function parse(text)
  local value, version = string.match(text or '0:0', '^(-?%d+):(%d+)$')
  return tonumber(value), tonumber(version)
end
local function render(value, version) return string.format('%.0f:%.0f', value, version) end
