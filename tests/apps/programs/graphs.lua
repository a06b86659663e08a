-- Allocation-heavy Lua with a deterministic output: tables that grow and shrink, strings interned
-- and concatenated, closures, coroutines, and full collections in between. Prints digests only;
-- never a table's address or an order that depends on one.

local seed = 12345
local function random(n)
  seed = (seed * 1103515245 + 12345) % 2147483648
  return seed % n + 1
end

local function digest(h, s)
  for i = 1, #s do h = (h * 31 + s:byte(i)) % 4294967291 end
  return h
end

-- Binary trees, built and dropped.
local function tree(depth)
  if depth == 0 then return {} end
  return { tree(depth - 1), tree(depth - 1) }
end
local function count(t)
  if t[1] == nil then return 1 end
  return 1 + count(t[1]) + count(t[2])
end
for depth = 4, 16, 4 do
  local nodes = 0
  for _ = 1, 2 ^ (16 - depth) do nodes = nodes + count(tree(depth)) end
  print("trees of depth", depth, nodes)
end

-- A table of strings with random replacement.
local live, h = {}, 0
for i = 1, 200000 do
  local slot = random(20000)
  live[slot] = ("key-%d-"):format(slot) .. string.rep(string.char(97 + i % 26), random(120))
end
for i = 1, 20000 do if live[i] then h = digest(h, live[i]) end end
print("strings", h)

-- Arrays that grow by reallocation, then shrink.
local sum = 0
for _ = 1, 20 do
  local list = {}
  for i = 1, 100000 do list[i] = i * 0.5 end
  while #list > 0 do sum = sum + table.remove(list) end
end
print("arrays", sum)

-- Closures and coroutines.
local made = {}
for i = 1, 20000 do
  made[i] = coroutine.wrap(function()
    local text = tostring(i)
    while true do
      text = text .. ","
      coroutine.yield(#text)
    end
  end)
end
local total = 0
for _ = 1, 3 do for i = 1, #made do total = total + made[i]() end end
made = nil
collectgarbage()
print("coroutines", total)

-- Long strings: buffers, gsub and sort.
local parts = {}
for i = 1, 50000 do parts[i] = ("%08d"):format(random(99999999)) end
table.sort(parts)
local text = table.concat(parts, " ")
local swapped = text:gsub("(%d%d%d%d)(%d%d%d%d)", "%2%1")
print("text", #text, digest(0, swapped))

-- Weak tables and finalizers: counts after a full collection are exact.
local finalized = 0
local weak = setmetatable({}, { __mode = "v" })
for i = 1, 10000 do
  weak[i] = setmetatable({ i }, { __gc = function() finalized = finalized + 1 end })
end
collectgarbage()
collectgarbage()
print("weak", next(weak) == nil, finalized)
