// Exporters to speedscope and folded stacks, and what all exporters share.
#include "export/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.h"
#include "export/measures.h"

namespace carrel::tools {

const Json& stacks_of(const Json& document) {
  if (!document.contains("stacks")) {
    throw UserError(
        "this document has no call sites; record with stacks: carrel profile -o DIR "
        "-- CMD");
  }
  return document.at("stacks");
}

void check_measure(const std::string& measure) {
  const std::vector<std::string> keys = measure_keys();
  if (std::find(keys.begin(), keys.end(), measure) != keys.end()) return;
  throw UsageError("there is no measure '{}'; one of: {}", measure, fmt::join(keys, ", "));
}

std::string export_folded(const Json& document, const std::string& measure) {
  check_measure(measure);
  const Json& section = stacks_of(document);
  std::string out;
  for (const Json& stack : section.at("stacks")) {
    const auto value = value_of(stack, measure);
    if (value <= 0) continue;
    std::string line;
    for (const Json& index : stack.at("frames")) {
      std::string name = section.at("frames").at(index.get<std::size_t>()).value("function", "?");
      // ';' separates frames and a line break ends a stack.
      std::replace(name.begin(), name.end(), ';', ':');
      std::replace(name.begin(), name.end(), '\n', ' ');
      if (!line.empty()) line += ';';
      line += name;
    }
    out += fmt::format("{} {}\n", line, value);
  }
  return out;
}

std::string export_speedscope(const Json& document) {
  const Json& section = stacks_of(document);
  Json frames = Json::array();
  for (const Json& frame : section.at("frames")) {
    Json entry = {{"name", frame.value("function", "?")}};
    if (frame.contains("file")) entry["file"] = frame.at("file");
    if (frame.contains("line")) entry["line"] = frame.at("line");
    frames.push_back(std::move(entry));
  }
  std::string name;
  for (const Json& word : document.at("program").at("command")) {
    name += (name.empty() ? "" : " ") + word.get<std::string>();
  }
  Json profiles = Json::array();
  for (const Measure& measure : kMeasures) {
    const std::string unit = measure.unit;
    Json samples = Json::array();
    Json weights = Json::array();
    std::int64_t total = 0;
    for (const Json& stack : section.at("stacks")) {
      const auto value = value_of(stack, measure.key);
      if (value <= 0) continue;
      samples.push_back(stack.at("frames"));
      weights.push_back(value);
      total += value;
    }
    profiles.push_back({{"type", "sampled"},
                        {"name", fmt::format("{} of {}", measure.title, name)},
                        {"unit", unit == "count" ? "none" : unit},
                        {"startValue", 0},
                        {"endValue", total},
                        {"samples", std::move(samples)},
                        {"weights", std::move(weights)}});
  }
  const Json out = {
      {"$schema", "https://www.speedscope.app/file-format-schema.json"},
      {"exporter", fmt::format("carrel {}", document.at("provenance").value("carrel", "?"))},
      {"name", name},
      {"activeProfileIndex", 0},
      {"shared", {{"frames", std::move(frames)}}},
      {"profiles", std::move(profiles)}};
  return out.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace carrel::tools
