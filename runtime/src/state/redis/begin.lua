-- Begins to load: takes the ticket, unless it is loaded. Tells the life of the server, and what was loaded in another.
local life = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local generation = redis.call('GET', KEYS[1])
if generation and string.match(generation, '^%x+') == life then return false end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return { life, generation or '' }
