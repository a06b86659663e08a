// StackTable: the frames and stacks of an analysis document, each frame once. Stacks may come from
// several runs of a program, each with its own addresses; named, they are the same.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <tuple>

#include "analysis/symbols.h"

namespace carrel::tools {

class StackTable {
 public:
  using Json = nlohmann::ordered_json;
  StackTable() = default;
  // Goes on with those of a document.
  explicit StackTable(const Json& frames);

  // `addresses`: return addresses, innermost first. The result: numbers of frames, outermost first,
  // without those of carrel's own libraries; empty when nothing is left.
  Json add(Symbols& symbols, std::span<const std::uint64_t> addresses);

  Json take_frames() { return std::move(frames_); }

 private:
  std::size_t index_of(const SourceFrame& frame);

  Json frames_ = Json::array();
  std::map<std::tuple<std::string, std::string, std::string, int>, std::size_t> known_;
};

}  // namespace carrel::tools
