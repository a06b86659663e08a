// Finding the heap through the ELF notes of what a process has mapped; walking its records.
#include "live/live_heap.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>

#include "carrel/carrel.h"

namespace carrel::tools {

namespace {

constexpr std::uint64_t kMostNoteBytes = 1 << 16;
constexpr std::uint32_t kMostParts = 1 << 10;   // of one ELF file
constexpr std::uint64_t kMostChunks = 1 << 20;  // of up to 4 MiB: more is no list any more

std::uint64_t aligned(std::uint64_t value, std::uint64_t to) { return (value + to - 1) / to * to; }

std::uint64_t address_of(const void* pointer) { return reinterpret_cast<std::uint64_t>(pointer); }

}  // namespace

LiveHeap::LiveHeap(const Target& target) : target_(target) {
  const std::vector<Found> found = find_layouts();
  if (found.empty()) {
    throw UserError("process {} ({}) does not run on carrel; carrel doctor {} says on what",
                    target.pid(), target.name(), target.pid());
  }
  std::uint64_t most = 0;
  for (const Found& each : found) {
    HeapLayout layout;
    if (!read_layout(each, layout)) continue;
    const std::uint64_t added = added_granules(layout);
    if (added != 0) ++others_;
    if (added <= most) continue;
    most = added;
    layout_address_ = each.address;
    layout_ = layout;
    library_ = each.library;
  }
  if (most == 0) {
    throw UserError(
        "process {} ({}) has carrel in {} and allocates nothing there; carrel doctor {} says what "
        "serves it",
        target.pid(), target.name(), found.front().library, target.pid());
  }
  --others_;
  read_classes();
}

std::string LiveHeap::version() const {
  return fmt::format("{}.{}.{}", layout_.library[0], layout_.library[1], layout_.library[2]);
}

std::vector<LiveHeap::Found> LiveHeap::find_layouts() const {
  std::vector<Found> found;
  const std::vector<Mapping> mappings = target_.mappings();
  if (mappings.empty()) {
    throw UserError("process {} ({}) has no memory: it has ended, or is the kernel's own",
                    target_.pid(), target_.name());
  }
  for (const Mapping& mapping : mappings) {
    const bool of_file = mapping.path.starts_with('/');
    if (of_file && mapping.readable && mapping.offset == 0) read_notes(mapping, found);
  }
  return found;
}

// The start of a file is mapped with its headers, which lead to its notes.
void LiveHeap::read_notes(const Mapping& mapping, std::vector<Found>& found) const {
  Elf64_Ehdr header;
  if (!target_.read_value(mapping.start, header) ||
      std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > kMostParts) {
    return;
  }
  std::vector<Elf64_Phdr> parts(header.e_phnum);
  if (!target_.read(mapping.start + header.e_phoff, parts.data(),
                    parts.size() * sizeof(Elf64_Phdr))) {
    return;
  }
  const auto loaded = std::find_if(parts.begin(), parts.end(), [](const Elf64_Phdr& part) {
    return part.p_type == PT_LOAD && part.p_offset == 0;
  });
  if (loaded == parts.end()) return;
  const std::uint64_t bias = mapping.start - loaded->p_vaddr;
  for (const Elf64_Phdr& part : parts) {
    if (part.p_type != PT_NOTE || part.p_memsz > kMostNoteBytes) continue;
    Copied notes;
    if (!target_.copy(bias + part.p_vaddr, part.p_memsz, notes)) continue;
    const std::uint64_t alignment = part.p_align == 8 ? 8 : 4;
    for (std::uint64_t at = 0; at + sizeof(Elf64_Nhdr) <= notes.bytes.size();) {
      const auto note = notes.at<Elf64_Nhdr>(at);
      const std::uint64_t name = at + sizeof note;
      const std::uint64_t content = aligned(name + note.n_namesz, alignment);
      at = aligned(content + note.n_descsz, alignment);
      if (content + note.n_descsz > notes.bytes.size()) break;
      if (note.n_type != kHeapNoteType || note.n_namesz != sizeof kHeapNoteName ||
          note.n_descsz != sizeof(std::int64_t) ||
          std::memcmp(notes.bytes.data() + name, kHeapNoteName, sizeof kHeapNoteName) != 0) {
        continue;
      }
      const auto distance = notes.at<std::int64_t>(content);
      found.push_back(
          {notes.address + content + static_cast<std::uint64_t>(distance), mapping.path});
    }
  }
}

bool LiveHeap::read_layout(const Found& found, HeapLayout& layout) const {
  constexpr std::size_t kHead = offsetof(HeapLayout, heap);
  if (!target_.read(found.address, &layout, kHead) ||
      std::memcmp(layout.magic, HeapLayout::kMagic, sizeof layout.magic) != 0) {
    return false;
  }
  if (layout.version != HeapLayout::kVersion || layout.bytes != sizeof layout) {
    throw UserError(
        "process {} ({}) runs on carrel {}.{}.{} from {}, whose records this carrel {}.{}.{} "
        "cannot read; use the carrel command of that version",
        target_.pid(), target_.name(), layout.library[0], layout.library[1], layout.library[2],
        found.library, CARREL_VERSION_MAJOR, CARREL_VERSION_MINOR, CARREL_VERSION_PATCH);
  }
  return target_.read_value(found.address, layout);
}

// 0 for a heap that nobody has used.
std::uint64_t LiveHeap::added_granules(const HeapLayout& layout) const {
  const std::uint64_t heap = address_of(layout.heap);
  std::uint32_t state = 0;
  std::uint64_t added = 0;
  if (!target_.read_value(heap + layout.in_heap.state, state) || state != layout.in_heap.ready ||
      !target_.read_value(heap + layout.in_heap.added, added)) {
    return 0;
  }
  return added;
}

void LiveHeap::read_classes() {
  const HeapLayout::Class& in = layout_.in_class;
  Copied table;
  if (!target_.copy(address_of(layout_.classes), (layout_.class_count + 1) * std::size_t{in.bytes},
                    table)) {
    throw UserError("process {}: carrel's table of size classes cannot be read; try again",
                    target_.pid());
  }
  for (std::uint32_t id = 0; id <= layout_.class_count; ++id) {
    const std::size_t at = std::size_t{id} * in.bytes;
    classes_.push_back({table.at<std::uint32_t>(at + in.slot_bytes),
                        table.at<std::uint32_t>(at + in.granules) * layout_.granule_bytes,
                        table.at<std::uint32_t>(at + in.slots)});
  }
}

Copied LiveHeap::read_heap() const {
  Copied heap;
  HeapLayout now;
  const bool same = target_.read_value(layout_address_, now) &&
                    std::memcmp(&now, &layout_, sizeof now) == 0 &&
                    target_.copy(address_of(layout_.heap), layout_.in_heap.bytes, heap) &&
                    heap.at<std::uint32_t>(layout_.in_heap.state) == layout_.in_heap.ready;
  if (!same) {
    throw UserError(
        "process {} ({}) has become another program meanwhile: its heap is gone; call this again "
        "to look at the new one",
        target_.pid(), target_.name());
  }
  return heap;
}

std::uint64_t LiveHeap::granule_count(const Copied& heap) const {
  return field(heap, layout_.in_heap.granule_count);
}

std::vector<LiveHeap::Range> LiveHeap::block_ranges(const Copied& heap) const {
  const std::uint64_t base = field(heap, layout_.in_heap.base);
  const std::uint64_t count = granule_count(heap);
  if (heap.at<bool>(layout_.in_heap.reserved)) return {{base, count * layout_.granule_bytes}};
  // Mappings made one by one: those that spans lie in.
  std::vector<Range> ranges;
  Copied granules;
  if (!target_.copy(field(heap, layout_.in_heap.granules), count * layout_.in_granule.bytes,
                    granules)) {
    return ranges;
  }
  for (std::uint64_t i = 0; i < count;) {
    const auto span =
        granules.at<std::uint64_t>(i * layout_.in_granule.bytes + layout_.in_granule.span);
    Copied record;
    std::uint64_t length = 0;
    if (span != 0 && target_.copy(span, layout_.in_span.bytes, record) &&
        record.at<std::uint32_t>(layout_.in_span.first) == i &&
        record.at<HeapSpanState>(layout_.in_span.state) != HeapSpanState::kUnused) {
      length = record.at<std::uint32_t>(layout_.in_span.count);
    }
    if (length != 0) {
      const std::uint64_t start = base + i * layout_.granule_bytes;
      const std::uint64_t bytes = length * layout_.granule_bytes;
      if (!ranges.empty() && ranges.back().start + ranges.back().bytes == start) {
        ranges.back().bytes += bytes;
      } else {
        ranges.push_back({start, bytes});
      }
    }
    i += std::max<std::uint64_t>(length, 1);
  }
  return ranges;
}

std::vector<LiveHeap::Range> LiveHeap::chunks(const Copied& heap) const {
  std::vector<Range> ranges;
  std::uint64_t chunk = field(heap, layout_.in_heap.chunks);
  while (chunk != 0 && ranges.size() < kMostChunks) {
    std::uint64_t next = 0;
    std::uint64_t bytes = 0;
    if (!target_.read_value(chunk + layout_.in_chunk.next, next) ||
        !target_.read_value(chunk + layout_.in_chunk.size, bytes)) {
      break;
    }
    ranges.push_back({chunk, bytes});
    chunk = next;
  }
  return ranges;
}

std::vector<LiveHeap::Range> LiveHeap::record_ranges(const Copied& heap) const {
  const HeapLayout::Heap& in = layout_.in_heap;
  const std::uint64_t page = Target::page_bytes();
  const std::uint64_t count = granule_count(heap);
  std::vector<Range> ranges = chunks(heap);
  ranges.push_back({field(heap, in.class_map), aligned(count, page)});
  ranges.push_back({field(heap, in.granules), aligned(count * layout_.in_granule.bytes, page)});
  if (in.granule_records != 0) {
    ranges.push_back({field(heap, in.records), aligned(count * in.granule_records, page)});
  }
  const auto shards = heap.at<std::uint32_t>(in.shard_count);
  ranges.push_back({field(heap, in.rows), aligned(shards * layout_.in_row.bytes, page)});
  return ranges;
}

std::vector<Copied> LiveHeap::thread_caches(const Copied& heap) const {
  constexpr int kTries = 3;
  const std::uint64_t count = field(heap, layout_.in_heap.cache_count);
  std::vector<Copied> caches;
  for (int i = 0; i < kTries; ++i) {
    caches.clear();
    std::uint64_t head = 0;
    if (!target_.read_value(heap.address + layout_.in_heap.caches, head)) break;
    // Records are never unmapped: whoever left the list meanwhile leads somewhere readable.
    for (std::uint64_t at = head; at != 0 && caches.size() < 2 * count + 16;) {
      Copied cache;
      if (!target_.copy(at, layout_.in_cache.bytes, cache)) break;
      at = cache.at<std::uint64_t>(layout_.in_cache.next);
      caches.push_back(std::move(cache));
    }
    if (caches.size() == count) break;
  }
  return caches;
}

}  // namespace carrel::tools
