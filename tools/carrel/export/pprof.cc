// The pprof exporter: profile.proto's messages, written field by field. pprof wants the innermost
// frame first. One location a frame: addresses are not kept in the document.
#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "export/export.h"
#include "export/measures.h"

namespace carrel::tools {

namespace {

// Field numbers of profile.proto.
enum : protozero::pbf_tag_type {
  kProfileSampleType = 1,
  kProfileSample = 2,
  kProfileMapping = 3,
  kProfileLocation = 4,
  kProfileFunction = 5,
  kProfileStrings = 6,
  kProfileDuration = 10,
  kProfileComment = 13,
  kProfileDefaultType = 14,
  kValueType = 1,
  kValueUnit = 2,
  kSampleLocations = 1,
  kSampleValues = 2,
  kMappingId = 1,
  kMappingFile = 5,
  kMappingHasFunctions = 7,
  kLocationId = 1,
  kLocationMapping = 2,
  kLocationLine = 4,
  kLineFunction = 1,
  kLineNumber = 2,
  kFunctionId = 1,
  kFunctionName = 2,
  kFunctionSystemName = 3,
  kFunctionFile = 4,
};

class Strings {
 public:
  Strings() { number(""); }
  std::int64_t number(const std::string& text) {
    const auto [place, fresh] =
        numbers_.try_emplace(text, static_cast<std::int64_t>(texts_.size()));
    if (fresh) texts_.push_back(text);
    return place->second;
  }
  const std::vector<std::string>& texts() const { return texts_; }

 private:
  std::unordered_map<std::string, std::int64_t> numbers_;
  std::vector<std::string> texts_;
};

// Numbers from 1 for whatever is named by a key.
template <typename Key>
class Table {
 public:
  // The number, and whether it is new.
  std::pair<std::uint64_t, bool> number(const Key& key) {
    const auto [place, fresh] = numbers_.try_emplace(key, numbers_.size() + 1);
    return {place->second, fresh};
  }

 private:
  std::map<Key, std::uint64_t> numbers_;
};

void value_type(protozero::pbf_writer& profile, Strings& strings, const Measure& measure) {
  protozero::pbf_writer type(profile, kProfileSampleType);
  type.add_int64(kValueType, strings.number(measure.type));
  type.add_int64(kValueUnit, strings.number(measure.unit));
}

void locations(protozero::pbf_writer& profile, Strings& strings, const Json& frames) {
  Table<std::string> mappings;
  Table<std::pair<std::string, std::string>> functions;
  std::uint64_t id = 0;
  for (const Json& frame : frames) {
    const std::string name = frame.value("function", "?");
    const std::string file = frame.value("file", "");
    const std::string module = frame.value("module", "");
    const auto [function, new_function] = functions.number({name, file});
    if (new_function) {
      protozero::pbf_writer writer(profile, kProfileFunction);
      writer.add_uint64(kFunctionId, function);
      writer.add_int64(kFunctionName, strings.number(name));
      writer.add_int64(kFunctionSystemName, strings.number(name));
      writer.add_int64(kFunctionFile, strings.number(file));
    }
    std::uint64_t mapping = 0;
    if (!module.empty()) {
      const auto [number, new_mapping] = mappings.number(module);
      mapping = number;
      if (new_mapping) {
        protozero::pbf_writer writer(profile, kProfileMapping);
        writer.add_uint64(kMappingId, mapping);
        writer.add_int64(kMappingFile, strings.number(module));
        writer.add_bool(kMappingHasFunctions, true);
      }
    }
    protozero::pbf_writer writer(profile, kProfileLocation);
    writer.add_uint64(kLocationId, ++id);
    if (mapping != 0) writer.add_uint64(kLocationMapping, mapping);
    protozero::pbf_writer line(writer, kLocationLine);
    line.add_uint64(kLineFunction, function);
    line.add_int64(kLineNumber, frame.value("line", 0));
  }
}

}  // namespace

std::string export_pprof(const Json& document) {
  const Json& section = stacks_of(document);
  std::string out;
  protozero::pbf_writer profile(out);
  Strings strings;
  for (const Measure& measure : kMeasures) value_type(profile, strings, measure);
  for (const Json& stack : section.at("stacks")) {
    std::vector<std::uint64_t> frames;
    for (auto index = stack.at("frames").rbegin(); index != stack.at("frames").rend(); ++index) {
      frames.push_back(index->get<std::uint64_t>() + 1);
    }
    std::vector<std::int64_t> values;
    for (const Measure& measure : kMeasures) {
      values.push_back(value_of(stack, measure.key));
    }
    protozero::pbf_writer sample(profile, kProfileSample);
    sample.add_packed_uint64(kSampleLocations, frames.begin(), frames.end());
    sample.add_packed_int64(kSampleValues, values.begin(), values.end());
  }
  locations(profile, strings, section.at("frames"));
  const double seconds = document.at("program").value("seconds", 0.0);
  profile.add_int64(kProfileDuration, static_cast<std::int64_t>(seconds * 1e9));
  profile.add_int64(kProfileDefaultType, strings.number(kMeasures.front().type));
  std::string comment = "carrel:";
  for (const Json& word : document.at("program").at("command")) {
    comment += " " + word.get<std::string>();
  }
  profile.add_int64(kProfileComment, strings.number(comment));
  for (const std::string& text : strings.texts()) profile.add_string(kProfileStrings, text);
  return out;
}

}  // namespace carrel::tools
