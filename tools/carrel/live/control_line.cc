// Connecting to a process's socket, and the messages over it.
#include "live/control_line.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "base/error.h"
#include "carrel/carrel.h"
#include "live/live_heap.h"
#include "live/target.h"

namespace carrel::tools {

namespace {

constexpr int kGreetingSeconds = 10;  // a thread that waits for requests answers at once
constexpr int kAnswerSeconds = 120;   // a large heap's purge takes its time
constexpr int kTries = 5;
constexpr std::size_t kMostRequestBytes = 511;

// What another process says, without what a terminal might obey.
std::string printable(std::string text) {
  for (char& c : text) {
    if ((c >= 0 && c < ' ' && c != '\t') || c == '\x7f') c = ' ';
  }
  return text;
}

// The process's number where it is, which is what it calls itself.
pid_t number_inside(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("NSpid:")) continue;
    std::istringstream words(line.substr(6));
    pid_t last = pid;
    for (pid_t number = 0; words >> number;) last = number;
    return last;
  }
  return pid;
}

// Names of sockets are those of a network namespace.
void enter_network_of(pid_t pid) {
  const std::string theirs = fmt::format("/proc/{}/ns/net", pid);
  std::error_code error;
  const auto own = std::filesystem::read_symlink("/proc/self/ns/net", error);
  if (error) return;
  const auto other = std::filesystem::read_symlink(theirs, error);
  if (error || own == other) return;
  const int file = open(theirs.c_str(), O_RDONLY | O_CLOEXEC);
  const bool entered = file >= 0 && setns(file, CLONE_NEWNET) == 0;
  if (file >= 0) close(file);
  if (!entered) {
    throw UserError(
        "process {} is in another network namespace, in a container perhaps; run this as root",
        pid);
  }
}

bool may_be_read(const Target& target) {
  try {
    for (const Mapping& mapping : target.mappings()) {
      char first = 0;
      if (mapping.readable && target.read_value(mapping.start, first)) return true;
    }
  } catch (const TargetEnded&) {
    throw;
  } catch (const UserError&) {
    return false;
  }
  return true;
}

void set_timeout(int socket, int which, int seconds) {
  const timeval limit = {.tv_sec = seconds, .tv_usec = 0};
  setsockopt(socket, SOL_SOCKET, which, &limit, sizeof limit);
}

std::uint64_t number_of(const std::string& text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

}  // namespace

std::string general_name(const std::string& name) {
  const std::size_t from = name.find('.');
  const std::size_t to = from == std::string::npos ? from : name.find('.', from + 1);
  if (to == std::string::npos || to == from + 1 ||
      name.find_first_not_of("0123456789", from + 1) != to) {
    return name;
  }
  return name.substr(0, from + 1) + "<i>" + name.substr(to);
}

const ControlEntry* find_control(const std::vector<ControlEntry>& controls,
                                 const std::string& name) {
  const std::string wanted = general_name(name);
  const auto found = std::find_if(controls.begin(), controls.end(),
                                  [&](const ControlEntry& each) { return each.name == wanted; });
  return found == controls.end() ? nullptr : &*found;
}

ControlLine::ControlLine(pid_t pid) : pid_(pid) {
  const Target target(pid);  // throws where there is none
  enter_network_of(pid);
  // A program may have closed its socket with all others that it did not open: then the first peer
  // is lost, and the next one finds a new socket.
  for (int i = 0; i < kTries; ++i) {
    if (connect_once()) return;
    usleep(100'000);
  }
  explain_silence();
}

ControlLine::~ControlLine() {
  if (socket_ >= 0) close(socket_);
}

bool ControlLine::connect_once() {
  if (socket_ >= 0) close(socket_);
  socket_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (socket_ < 0) throw UserError("no socket is to be had: {}", std::strerror(errno));
  set_timeout(socket_, SO_SNDTIMEO, kGreetingSeconds);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string name = fmt::format("carrel.{}", number_inside(pid_));
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (connect(socket_, reinterpret_cast<const sockaddr*>(&address), size) != 0) {
    if (errno == ECONNREFUSED || errno == ENOENT) explain_silence();
    return false;
  }
  check_peer();
  try {
    result_of((send("read version"), receive(kGreetingSeconds)));
    return true;
  } catch (const TargetEnded&) {
    return false;
  }
}

// Anybody can take a name that nobody has.
void ControlLine::check_peer() const {
  ucred who = {};
  socklen_t size = sizeof who;
  if (getsockopt(socket_, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0 || who.pid == pid_) return;
  throw UserError(
      "what answers for process {} is not it, but process {}; is its number another one in its own "
      "pid namespace?",
      pid_, who.pid);
}

void ControlLine::explain_silence() const {
  const Target target(pid_);
  struct stat owner = {};
  if (geteuid() != 0 && stat(fmt::format("/proc/{}", pid_).c_str(), &owner) == 0 &&
      owner.st_uid != geteuid()) {
    throw UserError("process {} ({}) is another user's; run this as that user or as root", pid_,
                    target.name());
  }
  if (!may_be_read(target)) {
    throw UserError(
        "process {} ({}) does not listen; it has to run on carrel and be started with "
        "CARREL_OPTIONS=control=1",
        pid_, target.name());
  }
  const LiveHeap heap(target);  // throws where it does not run on carrel
  throw UserError(
      "process {} ({}) runs on carrel and does not listen; start it with CARREL_OPTIONS=control=1 "
      "(carrel top {} needs nothing)",
      pid_, target.name(), pid_);
}

void ControlLine::send(const std::string& request) {
  if (::send(socket_, request.data(), request.size(), MSG_NOSIGNAL) < 0) {
    throw TargetEnded("process {} has hung up: it has ended, or closed all its files", pid_);
  }
}

std::string ControlLine::receive(int timeout_s) {
  set_timeout(socket_, SO_RCVTIMEO, timeout_s);
  char buffer[4096];
  ssize_t size = 0;
  do {
    size = recv(socket_, buffer, sizeof buffer, 0);
  } while (size < 0 && errno == EINTR);
  if (size < 0 && errno == EAGAIN) {
    throw UserError("process {} has not answered for {} s; is it stopped?", pid_, timeout_s);
  }
  if (size <= 0) throw TargetEnded("process {} has hung up: it has ended", pid_);
  return printable(std::string(buffer, static_cast<std::size_t>(size)));
}

std::string ControlLine::result_of(const std::string& answer) const {
  if (answer == "ok") return "";
  if (answer.starts_with("ok ")) return answer.substr(3);
  if (!answer.starts_with("error ")) {
    throw UserError("process {} answers what no carrel says: {}", pid_, answer);
  }
  const std::size_t text = std::min(answer.find(' ', 6), answer.size() - 1) + 1;
  switch (number_of(answer.substr(6))) {
    case CARREL_UNKNOWN_NAME:
    case CARREL_WRONG_TYPE:
    case CARREL_OUT_OF_RANGE:
    case CARREL_READ_ONLY:
      throw UsageError("process {}: {}", pid_, answer.substr(text));
    default:
      throw UserError("process {}: {}", pid_, answer.substr(text));
  }
}

std::string ControlLine::ask(const std::string& request) {
  if (request.size() > kMostRequestBytes || request.find('\n') != std::string::npos) {
    throw UsageError("'{:.40}...' is no control", printable(request.substr(request.find(' ') + 1)));
  }
  send(request);
  return result_of(receive(kAnswerSeconds));
}

std::string ControlLine::read(const std::string& name) { return ask("read " + name); }

void ControlLine::write(const std::string& name, const std::string& value) {
  ask("write " + name + " " + value);
}

std::string ControlLine::run(const std::string& name) { return ask("run " + name); }

std::vector<ControlEntry> ControlLine::list() {
  send("list");
  std::vector<ControlEntry> controls;
  for (;;) {
    const std::string answer = receive(kAnswerSeconds);
    if (!answer.starts_with("control\t")) {
      result_of(answer);
      return controls;
    }
    const std::vector<std::string> parts = split(answer, '\t');
    if (parts.size() < 9) throw UserError("process {} lists what is no control: {}", pid_, answer);
    controls.push_back({.name = parts[1],
                        .type = parts[2],
                        .unit = parts[3],
                        .writable = parts[4] == "1",
                        .minimum = number_of(parts[5]),
                        .maximum = number_of(parts[6]),
                        .words = split(parts[7], ','),
                        .meaning = parts[8]});
  }
}

}  // namespace carrel::tools
