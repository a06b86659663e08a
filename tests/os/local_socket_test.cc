// os/linux/local_socket.cc: messages between two ends, who may ask, and the thread that waits.
#include <errno.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "os/linux/linux_os.h"

namespace carrel::core {
namespace {

/// A name that no other test of this machine has.
std::string own_name() { return "carrel-test." + std::to_string(getpid()); }

int connect_to(const std::string& name) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path + 1, name.data(), name.size());
  const int file = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  EXPECT_EQ(connect(file, reinterpret_cast<const sockaddr*>(&address),
                    static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())),
            0);
  return file;
}

class LocalSocket : public testing::Test {
 protected:
  void SetUp() override {
    listener_ = LinuxOs::listen_at(own_name().c_str());
    ASSERT_GE(listener_, 0);
    other_end_ = connect_to(own_name());
    peer_ = LinuxOs::accept_peer(listener_, 50);
    ASSERT_GE(peer_, 0);
  }
  void TearDown() override {
    LinuxOs::hang_up(peer_);
    close(other_end_);
    LinuxOs::close_file(listener_);
  }

  long listener_ = -1;
  long peer_ = -1;
  int other_end_ = -1;
};

TEST_F(LocalSocket, OneNameIsGivenOnce) {
  EXPECT_EQ(LinuxOs::listen_at(own_name().c_str()), -EADDRINUSE);
  EXPECT_EQ(LinuxOs::listen_at(std::string(200, 'x').c_str()), -ENAMETOOLONG);
}

TEST_F(LocalSocket, NothingWaitsWhereNobodyIs) {
  char buffer[8];
  EXPECT_EQ(LinuxOs::accept_peer(listener_, 50), -EAGAIN);
  EXPECT_EQ(LinuxOs::receive(peer_, buffer, sizeof buffer), -EAGAIN);
}

TEST_F(LocalSocket, MessagesKeepTheirBoundariesAndTellTheirSize) {
  ASSERT_EQ(::send(other_end_, "first", 5, 0), 5);
  ASSERT_EQ(::send(other_end_, "a longer one", 12, 0), 12);
  char buffer[8];
  EXPECT_EQ(LinuxOs::receive(peer_, buffer, sizeof buffer), 5);
  EXPECT_EQ(std::string(buffer, 5), "first");
  EXPECT_EQ(LinuxOs::receive(peer_, buffer, sizeof buffer), 12);
  EXPECT_EQ(std::string(buffer, 8), "a longer");
  ASSERT_TRUE(LinuxOs::send(peer_, "back", 4));
  EXPECT_EQ(recv(other_end_, buffer, sizeof buffer, 0), 4);
}

TEST_F(LocalSocket, APeerThatIsGoneIsNoSignal) {
  close(other_end_);
  char buffer[8];
  EXPECT_EQ(LinuxOs::receive(peer_, buffer, sizeof buffer), 0);
  EXPECT_FALSE(LinuxOs::send(peer_, "back", 4));
  other_end_ = -1;
}

TEST_F(LocalSocket, APeerThatDoesNotReadHoldsUpForAWhileOnly) {
  const std::string text(1000, 'x');
  int sent = 0;
  while (sent < 100'000 && LinuxOs::send(peer_, text.data(), text.size())) ++sent;
  EXPECT_LT(sent, 100'000);
}

TEST_F(LocalSocket, WaitsForThoseThatHaveSomething) {
  const long files[] = {listener_, -1, peer_};
  bool ready[3];
  LinuxOs::wait_for_input(files, ready, 3, 1);
  EXPECT_FALSE(ready[0] || ready[1] || ready[2]);
  ASSERT_EQ(::send(other_end_, "x", 1, 0), 1);
  LinuxOs::wait_for_input(files, ready, 3, LinuxOs::kNoTimeout);
  EXPECT_TRUE(!ready[0] && !ready[1] && ready[2]);
}

TEST_F(LocalSocket, ASocketIsKnownAgain) {
  const std::uint64_t identity = LinuxOs::socket_identity(peer_);
  EXPECT_NE(identity, 0u);
  EXPECT_EQ(LinuxOs::socket_identity(peer_), identity);
  EXPECT_NE(LinuxOs::socket_identity(listener_), identity);
  EXPECT_EQ(LinuxOs::socket_identity(-1), 0u);
  const long file = LinuxOs::create_file("/dev/null", false);
  EXPECT_EQ(LinuxOs::socket_identity(file), 0u);
  LinuxOs::close_file(file);
}

TEST_F(LocalSocket, TheOwnUserIsServed) { EXPECT_TRUE(LinuxOs::is_own_user_or_root(peer_)); }

std::atomic<int> seen{0};  // 1: signals are blocked, 2: they are not

TEST(FullThread, BlocksTheProgramsSignalsAndLeavesTheCallersAsTheyWere) {
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  ASSERT_TRUE(LinuxOs::start_full_thread([] {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    bool all = true;
    for (const int number : {SIGINT, SIGTERM, SIGUSR1, SIGALRM, SIGCHLD}) {
      all = all && sigismember(&mask, number) == 1;
    }
    seen.store(all ? 1 : 2);
  }));
  while (seen.load() == 0) std::this_thread::yield();
  EXPECT_EQ(seen.load(), 1);
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  EXPECT_EQ(sigismember(&after, SIGUSR1), sigismember(&before, SIGUSR1));
  EXPECT_EQ(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
}

}  // namespace
}  // namespace carrel::core
