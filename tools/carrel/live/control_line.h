// A line to a process that runs on carrel with the option control=1: what it answers for the
// controls. The other end is src/api/control_server.cc, whose opening comment has the messages.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace carrel::tools {

// One control, as carrel_ctl_list has it.
struct ControlEntry {
  std::string name;  // "<i>" stands for a number
  std::string type;  // number, word, text, action
  std::string unit;
  bool writable = false;
  std::uint64_t minimum = 0;  // of what may be written
  std::uint64_t maximum = 0;
  std::vector<std::string> words;
  std::string meaning;
};

// "class.7.slabs" as the list has it: "class.<i>.slabs".
std::string general_name(const std::string& name);

// The entry of a name, or null.
const ControlEntry* find_control(const std::vector<ControlEntry>& controls,
                                 const std::string& name);

class ControlLine {
 public:
  // Throws UserError: there is no such process, it does not run on carrel or does not listen, it is
  // another user's.
  explicit ControlLine(pid_t pid);
  ~ControlLine();
  ControlLine(const ControlLine&) = delete;
  ControlLine& operator=(const ControlLine&) = delete;

  // Each throws UsageError when the process says that the request cannot be, UserError when it
  // could not be done. Nothing has been changed then.
  std::string read(const std::string& name);
  void write(const std::string& name, const std::string& value);
  // What it says of having done it: for profile.dump the file, in the process's file system.
  std::string run(const std::string& name);
  std::vector<ControlEntry> list();

 private:
  // True when the other end has gone before it said anything.
  bool connect_once();
  void check_peer() const;
  [[noreturn]] void explain_silence() const;
  void send(const std::string& request);
  std::string receive(int timeout_s);
  std::string ask(const std::string& request);
  std::string result_of(const std::string& answer) const;

  pid_t pid_;
  int socket_ = -1;
};

}  // namespace carrel::tools
