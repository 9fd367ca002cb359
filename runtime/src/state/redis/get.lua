return { redis.call('HGET', KEYS[2], ARGV[2]) or '' }
