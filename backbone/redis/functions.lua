#!lua name=sopor

-- All writes of Sopor's streams. A function is one atomic step; ACLs can allow FCALL alone; it survives a restart of the server.

-- Append the entries of ONE journal sequence to one partition, unless this sequence (or a later one) is there already.
-- KEYS  {pNN}:frames  {pNN}:cursor  {pNN}:occupancies
-- ARGV  cursor field (listener:generation), sequence, the sequence that must be there before, then pairs: case id ('' for a frame), payload
-- Returns the number of entries appended; 0 = was there; -1 = the server lost what must be there before: nothing was appended.
local function append(keys, args)
  local last = tonumber(redis.call('HGET', keys[2], args[1]) or '-1')
  if last < tonumber(args[3]) then
    return -1
  end
  if tonumber(args[2]) <= last then
    return 0
  end
  local appended = 0
  for n = 4, #args, 2 do
    redis.call('XADD', keys[1], '*', 'f', args[n + 1], 's', args[2], 'l', args[1], 'i', appended)
    if args[n] ~= '' then
      redis.call('HSET', keys[3], args[n], args[n + 1])
    end
    appended = appended + 1
  end
  redis.call('HSET', keys[2], args[1], args[2])
  return appended
end

-- Record one expected second of a case: seconds rise strictly, the first record on a second wins.
-- KEYS  {pNN}:predictions  {pNN}:recorded
-- ARGV  case id, second, payload
-- Returns 1 = recorded; 0 = this second, or a later one, has its record.
local function record(keys, args)
  local last = tonumber(redis.call('HGET', keys[2], args[1]) or '-1')
  if tonumber(args[2]) <= last then
    return 0
  end
  redis.call('XADD', keys[1], '*', 'r', args[3], 'c', args[1], 't', args[2])
  redis.call('HSET', keys[2], args[1], args[2])
  return 1
end

redis.register_function('sopor_append', append)
redis.register_function('sopor_record', record)
