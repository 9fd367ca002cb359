-- Sets one setting of an account in the version that was looked at, or tells what it is now.
local text = redis.call('HGET', KEYS[2], ARGV[2])
local account = text and cjson.decode(text) or {}
local at, version = parse(account[ARGV[3]])
local wanted = tonumber(ARGV[4])
if at ~= wanted and version == tonumber(ARGV[5]) then
  if not text and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[6]) then return { 'full' } end
  at, version = wanted, version + 1
  account[ARGV[3]] = render(at, version)
  redis.call('HSET', KEYS[2], ARGV[2], cjson.encode(account))
end
return { render(at, version) }
