// StackTable: see the header.
#include "analysis/stack_table.h"

#include <algorithm>
#include <filesystem>
#include <utility>

namespace carrel::tools {

namespace {

constexpr std::size_t kMostFrames = 96;

// What stands in front of the allocator to measure is no caller of it.
bool is_own(const std::string& module) {
  const std::string name = std::filesystem::path(module).filename().string();
  return name.starts_with("libcarrel-hook") || name.starts_with("libcarrel-gauge");
}

}  // namespace

StackTable::StackTable(const Json& frames) : frames_(frames) {
  for (std::size_t i = 0; i < frames_.size(); ++i) {
    const Json& frame = frames_[i];
    known_.try_emplace(std::tuple(frame.value("function", ""), frame.value("module", ""),
                                  frame.value("file", ""), frame.value("line", 0)),
                       i);
  }
}

StackTable::Json StackTable::add(Symbols& symbols, std::span<const std::uint64_t> addresses) {
  Json frames = Json::array();
  const std::size_t depth = std::min(addresses.size(), kMostFrames);
  for (std::size_t i = depth; i-- > 0;) {
    const SourceFrame& frame = symbols.of_return_address(addresses[i]);
    if (!is_own(frame.module)) frames.push_back(index_of(frame));
  }
  return frames;
}

std::size_t StackTable::index_of(const SourceFrame& frame) {
  const auto [place, fresh] = known_.try_emplace(
      std::tuple(frame.function, frame.module, frame.file, frame.line), frames_.size());
  if (fresh) {
    Json entry = {{"function", frame.function}};
    if (!frame.module.empty()) entry["module"] = frame.module;
    if (!frame.file.empty()) entry["file"] = frame.file;
    if (frame.line != 0) entry["line"] = frame.line;
    frames_.push_back(std::move(entry));
  }
  return place->second;
}

}  // namespace carrel::tools
