// What is common to both accounts, and the account by pages. That by carrel's slabs: by_slabs.cc.
#include "resident/account.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/units.h"
#include "resident/pinning.h"
#include "trace/event.h"

namespace carrel::tools {

std::uint64_t ResidentRuns::inside(std::uint64_t start, std::uint64_t end) const {
  auto at = std::partition_point(runs_.begin(), runs_.end(),
                                 [start](const AddressRun& run) { return run.end <= start; });
  std::uint64_t bytes = 0;
  for (; at != runs_.end() && at->start < end; ++at) {
    bytes += std::min(end, at->end) - std::max(start, at->start);
  }
  return bytes;
}

void PinningSites::add(const LiveObject& block, double kept_bytes, bool again) {
  if (block.stack == 0) return;
  const double stands_for = sampled_objects(block.size, interval_);
  PinningSite& site = sites_[block.stack];
  site.stack = block.stack;
  site.bytes += stands_for * kept_bytes;
  if (again) return;
  site.blocks += stands_for;
  ++site.samples;
  ++samples_;
}

std::vector<PinningSite> PinningSites::take(std::size_t most) {
  std::vector<PinningSite> out;
  out.reserve(sites_.size());
  for (const auto& [stack, site] : sites_) out.push_back(site);
  std::sort(out.begin(), out.end(), [](const PinningSite& a, const PinningSite& b) {
    return a.bytes != b.bytes ? a.bytes > b.bytes : a.stack < b.stack;
  });
  if (out.size() > most) out.resize(most);
  return out;
}

void settle(Account& account) {
  account.residue_bytes = static_cast<std::int64_t>(account.rss_bytes);
  for (const ResidentPart& part : account.parts) {
    account.residue_bytes -= static_cast<std::int64_t>(part.bytes);
  }
}

void add_foreign(Account& account, const HeapPicture& picture, std::uint64_t anonymous_bytes) {
  account.parts.push_back({"stacks and own mappings", picture.stack_bytes + anonymous_bytes,
                           "anonymous memory in which the allocator has no block; by smaps"});
  account.parts.push_back(
      {"files and code", picture.file_bytes, "mapped files, their changed pages too; by smaps"});
}

std::string requested_basis(const Account& account, std::uint64_t resident) {
  const std::uint64_t absent =
      account.requested_bytes > resident ? account.requested_bytes - resident : 0;
  std::string text = fmt::format("in the program's hands, {} blocks of the trace, byte by byte",
                                 human_count(account.live_blocks));
  if (absent != 0)
    text += fmt::format("; {} more asked for and not in memory", human_bytes(absent));
  return text;
}

namespace {

// The pages of one mapping that are in memory, and what of each the blocks cover.
class PageAccount {
 public:
  PageAccount(const HeapPicture& picture, const std::vector<LiveObject>& blocks,
              std::uint64_t interval)
      : picture_(picture), blocks_(blocks), sites_(interval) {}

  void make(Account& account) {
    for (const AddressRun& mapping : picture_.mappings) add_mapping(mapping);
    account.parts = {
        {"live, as requested", live_, requested_basis(account, live_)},
        {"beside live blocks", beside_,
         "on pages with a live block: headers, rounding, and free blocks that share the page"},
        {"pages without a live block", empty_,
         "in mappings that hold live blocks: free memory and the allocator's own records"}};
    add_foreign(account, picture_, foreign_);
    pinned_.samples = sites_.samples();
    pinned_.sites = sites_.take(kMostPinningSites);
    account.pinned = std::move(pinned_);
    settle(account);
  }

 private:
  std::size_t first_block(std::uint64_t address) const {
    const auto at = std::partition_point(
        blocks_.begin(), blocks_.end(),
        [address](const LiveObject& block) { return block.address + block.size <= address; });
    return static_cast<std::size_t>(at - blocks_.begin());
  }

  void add_mapping(const AddressRun& mapping) {
    const std::size_t first = first_block(mapping.start);
    const bool has_blocks = first < blocks_.size() && blocks_[first].address < mapping.end;
    auto run =
        std::partition_point(picture_.resident.begin(), picture_.resident.end(),
                             [&](const AddressRun& one) { return one.end <= mapping.start; });
    std::size_t block = first;
    for (; run != picture_.resident.end() && run->start < mapping.end; ++run) {
      const std::uint64_t end = std::min(run->end, mapping.end);
      for (std::uint64_t page = std::max(run->start, mapping.start); page < end; page += kPage) {
        if (has_blocks) {
          add_page(page, block);
        } else {
          foreign_ += kPage;
        }
      }
    }
  }

  // `block`: the first that may reach into this page or a later one; moves on.
  void add_page(std::uint64_t page, std::size_t& block) {
    while (block < blocks_.size() && blocks_[block].address + blocks_[block].size <= page) ++block;
    std::uint64_t covered = 0;
    std::size_t end = block;
    std::uint64_t blocks = 0;
    for (; end < blocks_.size() && blocks_[end].address < page + kPage; ++end) {
      const std::uint64_t from = std::max(page, blocks_[end].address);
      const std::uint64_t to = std::min(page + kPage, blocks_[end].address + blocks_[end].size);
      if (to > from) covered += to - from;
      ++blocks;
    }
    covered = std::min(covered, kPage);
    if (blocks == 0) {
      empty_ += kPage;
      return;
    }
    live_ += covered;
    beside_ += kPage - covered;
    // Headers and rounding are beside every block; free memory is where most of a page is.
    if (covered * 2 >= kPage) return;
    ++pinned_.places;
    pinned_.free_bytes += kPage - covered;
    for (std::size_t i = block; i < end; ++i) {
      const bool again = blocks_[i].address < page && blocks_[i].address >= counted_from_ &&
                         blocks_[i].address < counted_from_ + kPage;
      if (!again) ++pinned_.live_blocks;
      sites_.add(blocks_[i], static_cast<double>(kPage - covered) / static_cast<double>(blocks),
                 again);
    }
    // What begins on this page has been counted, should it reach into the next.
    counted_from_ = page;
  }

  const std::uint64_t kPage = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const HeapPicture& picture_;
  const std::vector<LiveObject>& blocks_;
  PinningSites sites_;
  Pinned pinned_;
  std::uint64_t counted_from_ = 0;  // of the page that was added last
  std::uint64_t live_ = 0;
  std::uint64_t beside_ = 0;
  std::uint64_t empty_ = 0;
  std::uint64_t foreign_ = 0;
};

}  // namespace

Account account_for(const HeapPicture& picture, const std::vector<LiveObject>& blocks,
                    std::uint64_t stack_interval) {
  Account account;
  account.time_ns = picture.time_ns;
  account.at_end = picture.at_end;
  account.rss_bytes = picture.rss_bytes;
  account.live_blocks = blocks.size();
  for (const LiveObject& block : blocks) account.requested_bytes += block.size;
  if (picture.heap) {
    account.by_slabs = true;
    account_by_slabs(account, picture, blocks, stack_interval);
  } else {
    PageAccount(picture, blocks, stack_interval).make(account);
  }
  return account;
}

}  // namespace carrel::tools
