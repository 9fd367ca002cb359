-- Begins to load: takes the ticket, unless it is loaded or somebody else has the ticket. Tells the life of the server,
-- and what was loaded in another.
local life = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local generation = redis.call('GET', KEYS[1])
if generation and string.match(generation, '^%x+') == life then return false end
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
return { life, generation or '' }
