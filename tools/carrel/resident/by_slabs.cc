// The account of a process on carrel: each block of the trace is looked up in the heap's map, and
// what its slot or its pages have beyond what was asked for is rounding.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/units.h"
#include "resident/pinning.h"

namespace carrel::tools {

namespace {

class SlabAccount {
 public:
  SlabAccount(const HeapPicture& picture, const std::vector<LiveObject>& blocks,
              std::uint64_t interval)
      : map_(*picture.heap),
        picture_(picture),
        blocks_(blocks),
        resident_(picture.resident),
        sites_(interval),
        known_(map_.spans.size()) {}

  void make(Account& account) {
    for (const LiveObject& block : blocks_) {
      if (!find(block)) ++account.only_in_trace;
    }
    const Summary sum = summarize(map_);
    account.only_in_heap = sum.live_blocks - std::min(sum.live_blocks, matched_);
    parts(account, sum);
    pinned();
    account.pinned = std::move(pinned_);
    settle(account);
  }

 private:
  // Of a span: its blocks that the trace knows.
  struct Known {
    std::uint64_t blocks = 0;
    std::uint64_t requested = 0;
    std::uint64_t oldest_ns = ~std::uint64_t{0};
    std::uint64_t youngest_ns = 0;
  };

  std::size_t span_of(std::uint64_t address) const {
    if (address < map_.base) return map_.spans.size();
    const std::uint64_t granule = (address - map_.base) / map_.granule_bytes;
    const auto after =
        std::partition_point(map_.spans.begin(), map_.spans.end(),
                             [granule](const MappedSpan& span) { return span.first <= granule; });
    if (after == map_.spans.begin()) return map_.spans.size();
    const MappedSpan& span = *(after - 1);
    if (granule >= span.first + span.granules) return map_.spans.size();
    return static_cast<std::size_t>(after - 1 - map_.spans.begin());
  }

  // False where the heap has no live block at this address.
  bool find(const LiveObject& block) {
    const std::size_t number = span_of(block.address);
    if (number == map_.spans.size()) return false;
    const MappedSpan& span = map_.spans[number];
    const std::uint64_t start = map_.address(span);
    std::uint64_t begin = start;
    std::uint64_t end = start;
    if (span.kind == SpanKind::kSlab) {
      const std::uint64_t bytes = map_.classes[span.size_class].slot_bytes;
      const auto slot = static_cast<std::uint32_t>((block.address - start) / bytes);
      if (slot >= span.slots || span.is_free(slot) || span.is_cached(slot)) return false;
      begin = start + slot * bytes;
      end = begin + bytes;
    } else if (span.kind == SpanKind::kLarge) {
      begin = start + span.block_start;
      end = begin + span.block_bytes;
    } else if (span.kind == SpanKind::kGuarded) {
      ++matched_;  // each is counted with its pages
      return true;
    }
    if (block.address < begin || block.address + block.size > end) return false;
    const std::uint64_t all = resident_.inside(begin, end);
    const std::uint64_t asked = resident_.inside(block.address, block.address + block.size);
    requested_ += asked;
    rounding_ += all - asked;
    ++matched_;
    Known& known = known_[number];
    ++known.blocks;
    known.requested += block.size;
    known.oldest_ns = std::min(known.oldest_ns, block.born_ns);
    known.youngest_ns = std::max(known.youngest_ns, block.born_ns);
    if (span.kind == SpanKind::kSlab && block.stack != 0 && span.resident_free != 0) {
      sites_.add(block, kept_per_block(span));
      sampled_.emplace(number, block.stack);
    }
    return true;
  }

  void parts(Account& account, const Summary& sum) const {
    for (const ResidentPart& part : sum.resident) {
      if (part.label == kLiveLabel) {
        account.parts.push_back(
            {"live, as requested", requested_, requested_basis(account, requested_)});
        account.parts.push_back(
            {"rounding", rounding_, "of these blocks, up to slots and pages; exact"});
        const std::uint64_t others = part.bytes - std::min(part.bytes, requested_ + rounding_);
        account.parts.push_back(
            {"live, not in the trace", others,
             fmt::format("{} blocks from before the recording, or taken by carrel itself",
                         human_count(account.only_in_heap))});
      } else if (part.label == kForeignLabel) {
        // The summary's has the recorder's shared memory too; here are the program's own alone.
        std::uint64_t anonymous = 0;
        for (const AddressRun& run : picture_.resident) anonymous += run.end - run.start;
        std::uint64_t own = 0;
        for (const MappedSpan& span : map_.spans) own += span.resident_bytes;
        own += map_.record_resident;
        add_foreign(account, picture_, anonymous - std::min(anonymous, own));
      } else {
        account.parts.push_back(part);
      }
    }
  }

  void pinned() {
    std::map<std::uint32_t, PinningClass> classes;
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < map_.spans.size(); ++i) {
      const MappedSpan& span = map_.spans[i];
      if (span.kind != SpanKind::kSlab || span.live == 0 || span.resident_free == 0) continue;
      ++pinned_.places;
      pinned_.free_bytes += span.resident_free;
      pinned_.live_blocks += span.live;
      PinningClass& of = classes[span.size_class];
      of.block_bytes = map_.classes[span.size_class].slot_bytes;
      ++of.slabs;
      of.live_blocks += span.live;
      of.free_bytes += span.resident_free;
      order.push_back(i);
    }
    for (const auto& [number, of] : classes) pinned_.classes.push_back(of);
    std::sort(
        pinned_.classes.begin(), pinned_.classes.end(),
        [](const PinningClass& a, const PinningClass& b) { return a.free_bytes > b.free_bytes; });
    const std::size_t most = std::min(order.size(), kMostPinnedSlabs);
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(),
                      [this](std::size_t a, std::size_t b) {
                        const double of_a = kept_per_block(map_.spans[a]);
                        const double of_b = kept_per_block(map_.spans[b]);
                        return of_a != of_b ? of_a > of_b : a < b;
                      });
    order.resize(most);
    for (const std::size_t number : order) pinned_.worst.push_back(worst(number));
    pinned_.samples = sites_.samples();
    pinned_.sites = sites_.take(kMostPinningSites);
  }

  PinnedSlab worst(std::size_t number) const {
    const MappedSpan& span = map_.spans[number];
    const Known& known = known_[number];
    PinnedSlab slab;
    slab.address = map_.address(span);
    slab.block_bytes = map_.classes[span.size_class].slot_bytes;
    slab.slots = span.slots;
    slab.live_blocks = span.live;
    slab.free_bytes = span.resident_free;
    slab.requested_bytes = known.requested;
    slab.oldest_ns = known.blocks == 0 ? 0 : known.oldest_ns;
    slab.youngest_ns = known.youngest_ns;
    const auto [from, to] = sampled_.equal_range(number);
    for (auto at = from; at != to; ++at) {
      if (std::find(slab.stacks.begin(), slab.stacks.end(), at->second) == slab.stacks.end()) {
        slab.stacks.push_back(at->second);
      }
    }
    return slab;
  }

  const HeapMap& map_;
  const HeapPicture& picture_;
  const std::vector<LiveObject>& blocks_;
  const ResidentRuns resident_;
  PinningSites sites_;
  Pinned pinned_;
  std::vector<Known> known_;                           // by span
  std::multimap<std::size_t, std::uint32_t> sampled_;  // span to stack
  std::uint64_t matched_ = 0;
  std::uint64_t requested_ = 0;
  std::uint64_t rounding_ = 0;
};

}  // namespace

void account_by_slabs(Account& account, const HeapPicture& picture,
                      const std::vector<LiveObject>& blocks, std::uint64_t stack_interval) {
  SlabAccount(picture, blocks, stack_interval).make(account);
}

}  // namespace carrel::tools
