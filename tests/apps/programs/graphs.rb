# Allocation-heavy Ruby with a deterministic output: strings and hashes across collections and a
# compaction, threads, fibers, JSON and Marshal round trips, zlib, and forked children.
require 'digest'
require 'json'
require 'zlib'

$seed = 777
def random(limit)
  $seed = ($seed * 1_103_515_245 + 12_345) % 2_147_483_648
  $seed % limit
end

live = {}
300_000.times do |i|
  key = "k#{random(30_000)}"
  live[key] = { id: i, name: 'n' * random(90), tags: Array.new(random(6)) { |t| "t#{t}" } }
  live.delete("k#{random(30_000)}") if i.odd?
end
GC.start
puts "hash #{live.size} #{Digest::MD5.hexdigest(live.sort.inspect)}"

text = JSON.generate(live.sort.to_h)
copy = JSON.parse(text)
puts "json #{text.size} #{copy.size} #{Digest::MD5.hexdigest(text)}"
packed = Zlib::Deflate.deflate(text, 6)
raise 'zlib round trip' unless Zlib::Inflate.inflate(packed) == text

blob = Marshal.dump(copy)
raise 'marshal round trip' unless Marshal.load(blob) == copy

puts "packed #{packed.size} #{blob.size}"

def tree(depth)
  depth.zero? ? [] : [tree(depth - 1), tree(depth - 1)]
end

def count(node)
  node.empty? ? 1 : 1 + count(node[0]) + count(node[1])
end
puts "trees #{Array.new(20) { count(tree(12)) }.sum}"

threads = Array.new(8) do |t|
  Thread.new do
    own = (1..20_000).map { |i| "thread #{t} line #{i} #{'x' * (i % 70)}" }
    Digest::MD5.hexdigest(own.select.with_index { |_, i| i % 3 == t % 3 }.join)
  end
end
threads.each_with_index { |thread, t| puts "thread #{t} #{thread.value}" }

fibers = Array.new(2_000) do |i|
  Fiber.new do
    words = []
    loop { Fiber.yield((words << "f#{i}").join.size) }
  end
end
puts "fibers #{3.times.sum { fibers.sum(&:resume) }}"
fibers = nil

buffer = +''
200_000.times { |i| buffer << i.to_s(36) << ' ' }
puts "text #{buffer.size} #{Digest::MD5.hexdigest(buffer.gsub(/([a-z])(\d)/, '\2\1'))}"

live = live.select { |_, value| value[:id] % 10 == 0 }
GC.start
GC.compact if GC.respond_to?(:compact)
puts "after compaction #{live.size} #{Digest::MD5.hexdigest(live.sort.inspect)}"

3.times do |child|
  reader, writer = IO.pipe
  pid = fork do
    reader.close
    own = Array.new(50_000) { |i| "c#{child}-#{i}" }
    writer.puts "child #{child} #{Digest::MD5.hexdigest(own.shuffle(random: Random.new(child)).join)}"
    writer.close
    exit!(0)
  end
  writer.close
  puts reader.read
  Process.wait(pid)
  raise "child #{child} failed" unless $?.success?
end
