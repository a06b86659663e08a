// The gauge's log of stacks: see the header.
#include "advise/call_sites.h"

#include <algorithm>
#include <cstring>
#include <sstream>
#include <string>
#include <utility>

#include "analysis/stack_table.h"
#include "analysis/symbols.h"
#include "record/modules.h"

namespace carrel::tools {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMostPrograms = 16;  // are given names; each reads the files that it maps
constexpr std::size_t kMostStacks = 1500;

void add_modules(std::vector<Module>& modules, const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (std::optional<Module> module = code_mapping(line)) add_module(modules, std::move(*module));
  }
}

}  // namespace

CallSites read_call_log(const gauge::CallLog& log) {
  CallSites sites;
  sites.dropped_ns = log.dropped_ns.load(std::memory_order_relaxed);
  std::map<std::uint64_t, CallSites::Program> running;
  const auto keep = [&sites](CallSites::Program&& program) {
    if (!program.ns.empty()) sites.programs.push_back(std::move(program));
  };
  const std::size_t used =
      std::min<std::size_t>(log.used.load(std::memory_order_relaxed), gauge::CallLog::kWords);
  for (std::size_t at = 0; at < used;) {
    // Acquire pairs with the gauge's release: the rest of the entry is there.
    const std::uint64_t head = __atomic_load_n(&log.words[at], __ATOMIC_ACQUIRE);
    const std::size_t length = head >> 8 & 0xFFFFFF;
    if (length == 0 || length > used - at) break;
    const std::uint64_t* const words = &log.words[at];
    CallSites::Program& program = running[head >> 32];
    at += length;
    switch (static_cast<gauge::Entry>(head & 0xFF)) {
      case gauge::Entry::kProgram:
        keep(std::exchange(program, {}));
        break;
      case gauge::Entry::kMappings:
        if (length > 2 && words[1] <= (length - 2) * sizeof(std::uint64_t)) {
          add_modules(program.modules,
                      std::string(reinterpret_cast<const char*>(words + 2), words[1]));
        }
        break;
      case gauge::Entry::kStack:
        if (length < 3) break;
        program.ns[std::vector<std::uint64_t>(words + 2, words + length)] += words[1];
        program.total_ns += words[1];
        ++sites.stacks;
        sites.ns += words[1];
        break;
    }
  }
  for (auto& [process, program] : running) keep(std::move(program));
  std::sort(sites.programs.begin(), sites.programs.end(),
            [](const auto& a, const auto& b) { return a.total_ns > b.total_ns; });
  return sites;
}

void add_call_sites(Json& document, const CallSites& sites) {
  if (!document.contains("stacks") || sites.stacks == 0) return;
  Json& section = document["stacks"];
  StackTable table(section["frames"]);
  std::map<std::vector<std::size_t>, std::uint64_t> named;
  std::uint64_t kept_ns = 0;
  for (std::size_t i = 0; i < std::min(sites.programs.size(), kMostPrograms); ++i) {
    const CallSites::Program& program = sites.programs[i];
    Symbols symbols(program.modules);
    for (const auto& [addresses, ns] : program.ns) {
      const Json frames = table.add(symbols, addresses);
      if (frames.empty()) continue;
      named[frames.get<std::vector<std::size_t>>()] += ns;
    }
  }
  std::map<std::vector<std::size_t>, std::size_t> places;
  for (std::size_t i = 0; i < section["stacks"].size(); ++i) {
    places.try_emplace(section["stacks"][i].at("frames").get<std::vector<std::size_t>>(), i);
  }
  std::vector<std::pair<std::uint64_t, const std::vector<std::size_t>*>> by_time;
  by_time.reserve(named.size());
  for (const auto& [frames, ns] : named) by_time.emplace_back(ns, &frames);
  std::sort(by_time.begin(), by_time.end(),
            [](const auto& a, const auto& b) { return a.first > b.first; });
  if (by_time.size() > kMostStacks) by_time.resize(kMostStacks);
  for (const auto& [ns, frames] : by_time) {
    kept_ns += ns;
    if (const auto place = places.find(*frames); place != places.end()) {
      section["stacks"][place->second]["allocator_ns"] = ns;
    } else {
      section["stacks"].push_back({{"frames", *frames},
                                   {"allocations", 0},
                                   {"bytes", 0},
                                   {"peak_bytes", 0},
                                   {"leaked_bytes", 0},
                                   {"temporary", 0},
                                   {"allocator_ns", ns}});
    }
  }
  section["frames"] = table.take_frames();
  section["allocator_time"] = {{"stacks", sites.stacks},
                               {"ns", sites.ns},
                               {"omitted_ns", sites.ns - kept_ns + sites.dropped_ns}};
}

}  // namespace carrel::tools
