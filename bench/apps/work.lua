-- Tables, strings and closures, built and left to the collector: a word index over generated text,
-- a priority queue, and objects that are chained and dropped. The argument is the number of rounds;
-- the printed checksum does not depend on the allocator.
local rounds = tonumber(arg[1])
local state = 42

local function random(bound)
  state = (state * 1103515245 + 12345) % 2147483648
  return state // 65536 % bound
end

local function words(count)
  local list = {}
  for i = 1, count do
    local length = 3 + random(9)
    local letters = {}
    for j = 1, length do letters[j] = string.char(97 + random(26)) end
    list[i] = table.concat(letters)
  end
  return list
end

local function index(list)
  local places = {}
  for position, word in ipairs(list) do
    local prefix = word:sub(1, 2)
    local entry = places[prefix] or {}
    entry[#entry + 1] = { word = word, at = position, show = function() return word .. position end }
    places[prefix] = entry
  end
  return places
end

local function push(heap, value)
  heap[#heap + 1] = value
  local at = #heap
  while at > 1 and heap[at // 2].key > heap[at].key do
    heap[at // 2], heap[at] = heap[at], heap[at // 2]
    at = at // 2
  end
end

local sum = 0
for round = 1, rounds do
  local places = index(words(6000))
  for _, entry in pairs(places) do
    for _, item in ipairs(entry) do sum = (sum + #item.show() * item.at) % 1000000007 end
  end
  local heap, chain = {}, nil
  for i = 1, 4000 do
    push(heap, { key = random(100000), payload = ("x"):rep(random(200)) })
    chain = { before = i % 500 ~= 0 and chain or nil, text = "link " .. i }
  end
  sum = (sum + heap[1].key + #chain.text) % 1000000007
end
print(sum)
