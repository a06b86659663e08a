// carrel ctl: the controls of a running process, and what there are.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "carrel/carrel.h"
#include "cli/command.h"
#include "live/control_line.h"

namespace carrel::tools {

namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string process;
  std::vector<std::string> words;
  bool list = false;
  bool json = false;
};

// Of the library of this command's own version.
std::vector<ControlEntry> own_controls() {
  constexpr const char* kTypes[] = {"number", "word", "text", "action"};
  std::vector<ControlEntry> controls;
  carrel_ctl_info info;
  while (carrel_ctl_list(controls.size(), &info) == CARREL_OK) {
    ControlEntry entry = {.name = info.name,
                          .type = kTypes[info.type],
                          .unit = info.unit,
                          .writable = info.writable != 0,
                          .minimum = info.minimum,
                          .maximum = info.maximum,
                          .words = {},
                          .meaning = info.meaning};
    for (std::uint64_t i = info.minimum; info.words != nullptr && i <= info.maximum; ++i) {
      entry.words.emplace_back(info.words[i]);
    }
    controls.push_back(std::move(entry));
  }
  return controls;
}

std::string what_may_be_written(const ControlEntry& control) {
  if (control.type == "action") return "run";
  if (!control.writable) return "-";
  if (!control.words.empty()) return fmt::format("{}", fmt::join(control.words, "|"));
  if (control.maximum == UINT64_MAX) return fmt::format("{} or more", control.minimum);
  return fmt::format("{} to {}", control.minimum, control.maximum);
}

void print_list(const std::vector<ControlEntry>& controls, bool as_json) {
  if (as_json) {
    Json all = Json::array();
    for (const ControlEntry& control : controls) {
      Json entry = {{"name", control.name},
                    {"type", control.type},
                    {"unit", control.unit},
                    {"writable", control.writable}};
      if (control.writable) {
        entry["minimum"] = control.minimum;
        entry["maximum"] = control.maximum;
      }
      if (!control.words.empty()) entry["words"] = control.words;
      entry["meaning"] = control.meaning;
      all.push_back(std::move(entry));
    }
    fmt::print("{}\n", all.dump(1, ' ', false, Json::error_handler_t::replace));
    return;
  }
  std::size_t name = 4;
  std::size_t set = 3;
  for (const ControlEntry& control : controls) {
    name = std::max(name, control.name.size());
    set = std::max(set, what_may_be_written(control).size());
  }
  fmt::print("{:{}}  {:6}  {:5}  {:{}}  meaning\n", "name", name, "type", "unit", "set", set);
  for (const ControlEntry& control : controls) {
    fmt::print("{:{}}  {:6}  {:5}  {:{}}  {}\n", control.name, name, control.type,
               control.unit.empty() ? "-" : control.unit, what_may_be_written(control), set,
               control.meaning);
  }
}

// A word of the command line: "name", or "name=value" to write.
struct Request {
  std::string name;
  std::string value;
  bool writes = false;
};

std::vector<Request> read_requests(const std::vector<std::string>& words) {
  std::vector<Request> requests;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    Request request = {.name = word.substr(0, equals), .value = {}, .writes = false};
    if (equals != std::string::npos) {
      request.writes = true;
      request.value = word.substr(equals + 1);
    }
    if (request.name.empty() || (request.writes && request.value.empty())) {
      throw UsageError("'{}' is neither NAME nor NAME=VALUE; carrel ctl --list shows the names",
                       word);
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

// Where the file is for us; its name is relative to the process's working directory.
std::string full_name(const std::string& process, const std::string& file) {
  if (file.starts_with('/')) return file;
  std::error_code error;
  const auto folder = std::filesystem::read_symlink("/proc/" + process + "/cwd", error);
  return error ? file : (folder / file).lexically_normal().string();
}

Json value_of(const ControlEntry& control, const std::string& text) {
  if (control.type != "number") return text;
  return static_cast<std::uint64_t>(std::stoull(text));
}

int run(const Options& options) {
  if (options.list && !options.words.empty()) {
    throw UsageError("--list shows all controls; leave '{}' out", options.words.front());
  }
  if (options.process.empty()) {
    if (!options.list) throw UsageError("name a process and a control, or say --list");
    print_list(own_controls(), options.json);
    return kExitOk;
  }
  const pid_t pid = parse_process(options.process);
  const std::vector<Request> requests = read_requests(options.words);
  if (!options.list && requests.empty()) {
    throw UsageError("name a control of process {}; carrel ctl --list shows them", pid);
  }
  ControlLine line(pid);
  const std::vector<ControlEntry> controls = line.list();
  if (options.list) {
    print_list(controls, options.json);
    return kExitOk;
  }
  // Before anything is done: a name that does not exist. The process knows the nearest one.
  for (const Request& request : requests) {
    if (find_control(controls, request.name) == nullptr) line.read(request.name);
  }
  Json all = Json::array();
  for (const Request& request : requests) {
    const ControlEntry* control = find_control(controls, request.name);
    if (control == nullptr) throw UserError("process {}: no control {}", pid, request.name);
    std::string said;
    bool shown = true;
    Json value;
    if (request.writes) {
      line.write(request.name, request.value);
      shown = false;
      if (options.json) value = value_of(*control, line.read(request.name));
    } else if (control->type == "action") {
      said = line.run(request.name);
      shown = !said.empty();
      if (shown) said = full_name(options.process, said);
      value = shown ? Json(said) : Json(true);
    } else {
      said = line.read(request.name);
      value = value_of(*control, said);
    }
    if (options.json) {
      all.push_back({{"name", request.name}, {"value", value}});
    } else if (shown && requests.size() == 1) {
      fmt::print("{}\n", said);
    } else if (shown) {
      fmt::print("{} {}\n", request.name, said);
    }
  }
  if (options.json) fmt::print("{}\n", all.dump(-1, ' ', false, Json::error_handler_t::replace));
  return kExitOk;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("PID", options->process,
                     "number of a process that was started with CARREL_OPTIONS=control=1");
  command.add_option("CONTROL", options->words,
                     "NAME prints a value or runs an action, NAME=VALUE writes");
  command.add_flag("--list", options->list,
                   "all controls: of the process, or without one of this version");
  command.add_flag("--json", options->json, "names and values as JSON");
  return [options] { return run(*options); };
}

const Registration kRegistration{
    {88, "ctl", "read, set and run controls of a process that runs on carrel",
     "carrel ctl $(pidof redis-server) stats.live_bytes heap.purge", setup}};

}  // namespace

}  // namespace carrel::tools
