// The thread that answers for the controls, with the option control=1: `carrel ctl PID` asks it.
//
// It sits at a socket of the machine's own, named "carrel.PID", and serves root and the process's
// own user, whom the system vouches for; others are told so and turned away. A message is a
// request; it gets its answers, a message each, the last of which begins with "ok" or "error":
//
//   read NAME            ok VALUE
//   write NAME VALUE     ok
//   run NAME             ok; for profile.dump: ok FILE
//   list                 control NAME TYPE UNIT SET MINIMUM MAXIMUM WORDS MEANING, for each, a tab
//                        between any two, then: ok COUNT
//   anything else        error RESULT TEXT: a carrel_result, and what carrel_ctl_explain says
//
// Peers that say nothing hold nobody up, since a message is read when it is there as a whole. A
// program may close all files that it does not know: so a number is looked at, before it is used,
// for whether it is still the socket that it was, and the name is taken anew when it is not.
//
// Who closes what: the thread alone touches the sockets; a child of fork, before it has its own
// thread, closes what it inherited.
#include "api/control_server.h"

#include <carrel/carrel.h>
#include <errno.h>
#include <string.h>

#include "api/instance.h"

namespace carrel::core {
namespace {

constexpr std::size_t kMostControlPeers = 8;
constexpr std::uint32_t kControlSendMs = 2000;  // a peer that does not read its answers is dropped
constexpr std::uint32_t kControlRetryMs = 1000;
constexpr std::size_t kMostRequestBytes = 512;

class ControlSocket {
 public:
  constexpr ControlSocket() = default;
  void open(long file) {
    identity_ = ProcessOs::socket_identity(file);
    file_ = file;
  }
  long file() const { return file_; }
  bool is_open() const { return file_ >= 0; }
  /// The number may lead to something else by now, which is the program's.
  bool is_still_ours() const { return is_open() && ProcessOs::socket_identity(file_) == identity_; }
  void close() {
    if (is_still_ours()) ProcessOs::close_file(file_);
    file_ = -1;
  }
  void hang_up() {
    if (is_still_ours()) ProcessOs::hang_up(file_);
    file_ = -1;
  }

 private:
  long file_ = -1;
  std::uint64_t identity_ = 0;
};

struct ControlServer {
  bool running = false;
  ControlSocket listener;
  ControlSocket peers[kMostControlPeers];
  std::size_t next = 0;  // of the peers: the place that is given away when all are taken
};

constinit ControlServer control_server;

/// Answers are as long as the name of a file at most.
using ControlAnswer = TextBuffer<1200>;

bool send_answer(long peer, const ControlAnswer& answer) {
  return ProcessOs::send(peer, answer.data(), answer.size());
}

void explain_result(ControlAnswer& answer, const char* name, carrel_result result, int error) {
  char line[320];
  answer << "error " << static_cast<std::uint64_t>(result) << " "
         << carrel_ctl_explain(name, result, line, sizeof line);
  if (result == CARREL_IO_ERROR && error > 0) {
    answer << ": error number " << static_cast<std::uint64_t>(error);
  }
}

const char* type_name(carrel_ctl_type type) {
  switch (type) {
    case CARREL_CTL_NUMBER:
      return "number";
    case CARREL_CTL_WORD:
      return "word";
    case CARREL_CTL_TEXT:
      return "text";
    case CARREL_CTL_ACTION:
      return "action";
  }
  return "";
}

bool send_list(long peer) {
  std::size_t count = 0;
  for (carrel_ctl_info info; carrel_ctl_list(count, &info) == CARREL_OK; ++count) {
    ControlAnswer line;
    line << "control\t" << static_cast<const char*>(info.name) << "\t" << type_name(info.type)
         << "\t" << info.unit << "\t" << (info.writable != 0 ? "1" : "0") << "\t" << info.minimum
         << "\t" << info.maximum << "\t";
    for (std::uint64_t word = info.minimum; info.words != nullptr && word <= info.maximum; ++word) {
      line << (word == info.minimum ? "" : ",") << info.words[word];
    }
    line << "\t" << info.meaning;
    if (!send_answer(peer, line)) return false;
  }
  ControlAnswer end;
  end << "ok " << static_cast<std::uint64_t>(count);
  return send_answer(peer, end);
}

/// Cuts the first word off.
char* take_word(char*& rest) {
  char* const word = rest;
  while (*rest != '\0' && *rest != ' ') ++rest;
  if (*rest == ' ') *rest++ = '\0';
  return word;
}

/// `request` is terminated and holds nothing but printable characters. False: the peer is gone.
bool answer_request(long peer, char* request) {
  char* rest = request;
  const TextView verb(take_word(rest));
  if (verb == TextView("list") && *rest == '\0') return send_list(peer);
  ControlAnswer answer;
  const char* const name = take_word(rest);
  carrel_result result = CARREL_BAD_ARGUMENT;
  char value[1100] = "";
  errno = 0;
  if (verb == TextView("read") && *name != '\0' && *rest == '\0') {
    result = carrel_ctl_read_text(name, value, sizeof value);
  } else if (verb == TextView("write") && *name != '\0') {
    result = carrel_ctl_write_text(name, rest);
  } else if (verb == TextView("run") && *name != '\0' && *rest == '\0') {
    result = carrel_ctl_run(name);
    if (result == CARREL_OK && TextView(name) == TextView("profile.dump")) {
      carrel_ctl_read_text("profile.last_file", value, sizeof value);
    }
  } else {
    answer << "error " << std::uint64_t{CARREL_BAD_ARGUMENT}
           << " not a request; expected 'read NAME', 'write NAME VALUE', 'run NAME' or 'list'";
    return send_answer(peer, answer);
  }
  if (result != CARREL_OK) {
    explain_result(answer, name, result, errno);
  } else {
    answer << "ok";
    if (*value != '\0') answer << " " << TextView(value);
  }
  return send_answer(peer, answer);
}

/// Reads one message and answers it; false: the peer is gone.
bool serve_peer(long peer) {
  char request[kMostRequestBytes];
  const long size = ProcessOs::receive(peer, request, sizeof request - 1);
  if (size == -EAGAIN || size == -EINTR) return true;
  if (size <= 0) return false;
  bool plain = size < static_cast<long>(sizeof request);
  if (plain) {
    std::size_t length = static_cast<std::size_t>(size);
    if (request[length - 1] == '\n') --length;
    request[length] = '\0';
    for (std::size_t i = 0; i < length; ++i) plain = plain && request[i] >= ' ' && request[i] < 127;
  }
  // What is no text is answered like an unknown word.
  if (!plain) request[0] = '\0';
  return answer_request(peer, request);
}

void welcome_peer(ControlServer& server) {
  const long file = ProcessOs::accept_peer(server.listener.file(), kControlSendMs);
  if (file < 0) {
    // Out of file numbers, say: without a pause this would be tried again at once.
    if (file != -EAGAIN) ProcessOs::wait_for_input(nullptr, nullptr, 0, kControlRetryMs / 10);
    return;
  }
  if (!ProcessOs::is_own_user_or_root(file)) {
    ControlAnswer answer;
    answer << "error " << std::uint64_t{CARREL_UNAVAILABLE}
           << " refused: only the process's own user and root may ask";
    send_answer(file, answer);
    ProcessOs::hang_up(file);
    return;
  }
  for (std::size_t i = 0; i < kMostControlPeers; ++i) {
    if (server.peers[i].is_open()) continue;
    return server.peers[i].open(file);
  }
  // Whoever was here longest, more or less.
  ControlSocket& place = server.peers[server.next++ % kMostControlPeers];
  place.hang_up();
  place.open(file);
}

/// 0, or an error number as a negative value.
long open_control_door(ControlServer& server) {
  TextBuffer<64> name;
  name << "carrel." << ProcessOs::process_id();
  const long file = ProcessOs::listen_at(name.data());
  if (file < 0) return file;
  server.listener.open(file);
  return 0;
}

[[noreturn]] void run_control_server() {
  ControlServer& server = control_server;
  constexpr std::size_t kAll = kMostControlPeers + 1;
  static_assert(kAll <= ProcessOs::kMostWaitedFor);
  for (;;) {
    if (!server.listener.is_still_ours()) {
      server.listener.close();
      open_control_door(server);
    }
    long files[kAll];
    bool ready[kAll] = {};
    for (std::size_t i = 0; i < kMostControlPeers; ++i) files[i] = server.peers[i].file();
    files[kMostControlPeers] = server.listener.file();
    ProcessOs::wait_for_input(files, ready, kAll,
                              server.listener.is_open() ? ProcessOs::kNoTimeout : kControlRetryMs);
    for (std::size_t i = 0; i < kMostControlPeers; ++i) {
      if (!ready[i]) continue;
      ControlSocket& peer = server.peers[i];
      if (!peer.is_still_ours() || !serve_peer(peer.file())) peer.hang_up();
    }
    if (ready[kMostControlPeers] && server.listener.is_still_ours()) welcome_peer(server);
  }
}

void complain_of_control(const char* what, long error) {
  TextBuffer<200> line;
  line << "carrel: option ignored: control=1: " << what;
  if (error != 0) line << ": error number " << static_cast<std::uint64_t>(-error);
  line << "\n";
  ProcessOs::write_stderr(line.data(), line.size());
}

}  // namespace

void start_control_server() {
  ControlServer& server = control_server;
  if (server.running) return;
  // Here, so that the program finds it open, and a child already under its own number.
  const long error = open_control_door(server);
  if (error != 0) {
    complain_of_control(error == -EADDRINUSE ? "another heap of this process, or somebody else, "
                                               "listens under its number"
                                             : "no socket is to be had",
                        error == -EADDRINUSE ? 0 : error);
    return;
  }
  server.running = true;
  if (ProcessOs::start_full_thread(run_control_server)) return;
  server.running = false;
  server.listener.close();
  complain_of_control("no thread is to be had", 0);
}

void restart_control_server() {
  ControlServer& server = control_server;
  if (!server.running) return;
  server.listener.close();
  for (ControlSocket& peer : server.peers) peer.close();
  server.running = false;
  start_control_server();
}

}  // namespace carrel::core
