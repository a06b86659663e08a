// What both accounts share: looking up what is in memory, and gathering who pins free memory. Only
// resident/ includes this.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "resident/account.h"

namespace carrel::tools {

inline constexpr std::size_t kMostPinningSites = 50;
inline constexpr std::size_t kMostPinnedSlabs = 20;

class ResidentRuns {
 public:
  explicit ResidentRuns(const std::vector<AddressRun>& runs) : runs_(runs) {}
  // Bytes of the range that are in memory.
  std::uint64_t inside(std::uint64_t start, std::uint64_t end) const;

 private:
  const std::vector<AddressRun>& runs_;
};

// Blocks with a stack, each standing for others like it, by call site.
class PinningSites {
 public:
  explicit PinningSites(std::uint64_t stack_interval) : interval_(stack_interval) {}
  // `again`: the block was added before, for another page that it lies on.
  void add(const LiveObject& block, double kept_bytes, bool again = false);
  std::vector<PinningSite> take(std::size_t most);
  std::uint64_t samples() const { return samples_; }

 private:
  std::uint64_t interval_;
  std::uint64_t samples_ = 0;
  std::unordered_map<std::uint32_t, PinningSite> sites_;
};

void account_by_slabs(Account& account, const HeapPicture& picture,
                      const std::vector<LiveObject>& blocks, std::uint64_t stack_interval);

// The last parts: what is not the allocator's. `anonymous_bytes`: of it in mappings without blocks.
void add_foreign(Account& account, const HeapPicture& picture, std::uint64_t anonymous_bytes);
std::string requested_basis(const Account& account, std::uint64_t resident);
// The residue, once the parts are complete.
void settle(Account& account);

}  // namespace carrel::tools
