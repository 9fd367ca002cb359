-- A revocation only ever goes further.
local known = redis.call('HGET', KEYS[2], ARGV[2])
local at, version = parse(known)
local wanted = tonumber(ARGV[3])
if wanted > at then
  if not known and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[4]) then return { 'full' } end
  known = render(wanted, version + 1)
  redis.call('HSET', KEYS[2], ARGV[2], known)
end
return { known or '' }
