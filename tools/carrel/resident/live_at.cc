// LiveAt: see the header.
#include "resident/live_at.h"

#include <algorithm>

namespace carrel::tools {

LiveAt::LiveAt(const std::vector<Moment>& moments) : moments_(moments), states_(moments.size()) {
  for (std::size_t i = 0; i < states_.size(); ++i) states_[i].moment = &moments_[i];
}

void LiveAt::apply(LiveMap& live, const Event& event, std::uint64_t resized) const {
  if (ends(event.op)) {
    if (event.address == 0) return;  // realloc of a null pointer
    if (LiveObject* const old = live.find(event.address)) live.erase(old);
    return;
  }
  // A realloc that was refused leaves the old block where it was.
  const std::uint64_t address = event.address != 0 ? event.address : resized;
  if (event.object == kNoObject || address == 0 || live.find(address) != nullptr) return;
  live.insert({address, event.object, event.size, event.time_ns, event.thread, event.stack});
}

void LiveAt::add(const Event& event) {
  if (!begins(event.op) && !ends(event.op)) return;
  if (event.thread >= threads_.size()) threads_.resize(std::size_t{event.thread} + 1);
  Thread& self = threads_[event.thread];
  // One that the reader made comes with the beginning that follows it.
  const std::uint64_t number = self.events + 1;
  if (event.op != Op::kLost) ++self.events;
  if (event.op == Op::kReallocBegin) self.resized = event.object == kNoObject ? 0 : event.address;
  const std::uint64_t resized = event.op == Op::kReallocEnd ? self.resized : 0;
  bool all_apart = true;
  for (State& state : states_) {
    const bool before =
        event.thread < state.moment->size() && number <= (*state.moment)[event.thread];
    if (!state.apart && !before) {
      state.live = live_;
      state.apart = true;
    }
    if (state.apart && before) apply(state.live, event, resized);
    all_apart = all_apart && state.apart;
  }
  if (!all_apart) apply(live_, event, resized);
}

std::vector<LiveObject> LiveAt::blocks(std::size_t moment) const {
  const State& state = states_[moment];
  std::vector<LiveObject> out;
  (state.apart ? state.live : live_).for_each([&](const LiveObject& object) {
    out.push_back(object);
  });
  std::sort(out.begin(), out.end(),
            [](const LiveObject& a, const LiveObject& b) { return a.address < b.address; });
  return out;
}

}  // namespace carrel::tools
