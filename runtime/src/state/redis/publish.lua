-- Ends to load, if the ticket is still ours and the server still lives the life in which it was given: what was read
-- from the ledger is then newer than whatever was lost.
local life = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if redis.call('GET', KEYS[2]) ~= ARGV[2] or string.match(ARGV[1], '^%x+') ~= life then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return 1
