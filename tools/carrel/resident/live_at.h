// LiveAt: which blocks were live at given moments of a trace. A moment is given as the number of
// beginnings and ends of blocks that each thread had behind it, so that it is exact whatever the
// clocks say; events are added in the reader's order. Blocks are kept for the moments only.
#pragma once

#include <cstdint>
#include <vector>

#include "trace/event.h"
#include "trace/live_map.h"

namespace carrel::tools {

class LiveAt {
 public:
  // One moment each; a later one has no fewer events of any thread.
  using Moment = std::vector<std::uint64_t>;  // by thread number
  explicit LiveAt(const std::vector<Moment>& moments);
  LiveAt(const LiveAt&) = delete;
  LiveAt& operator=(const LiveAt&) = delete;

  void add(const Event& event);

  // The blocks of a moment, by address. Once all events were added.
  std::vector<LiveObject> blocks(std::size_t moment) const;

 private:
  struct State {
    const Moment* moment = nullptr;
    bool apart = false;  // some thread is past it; `live` then has what the others do before it
    LiveMap live;
  };
  struct Thread {
    std::uint64_t events = 0;
    std::uint64_t resized = 0;  // address of the block that it resizes
  };
  void apply(LiveMap& live, const Event& event, std::uint64_t resized) const;

  std::vector<Moment> moments_;
  std::vector<State> states_;
  LiveMap live_;  // at present, for the moments that are still to come
  std::vector<Thread> threads_;
};

}  // namespace carrel::tools
