// os/linux/environment.cc: one variable, from `environ` and from /proc before there is one.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "os/linux/linux_os.h"

namespace carrel::core {
namespace {

constexpr const char* kName = "CARREL_OPTIONS";

class Environment : public ::testing::Test {
 protected:
  ~Environment() override { ::unsetenv(kName); }

  static std::string look_up(const char* name, std::size_t capacity = 64) {
    std::vector<char> buffer(capacity + 8, '#');
    const std::size_t size = LinuxOs::environment(name, buffer.data(), capacity);
    for (std::size_t i = capacity; i < buffer.size(); ++i) {
      EXPECT_EQ(buffer[i], '#') << "wrote beyond the buffer";
    }
    return std::string(buffer.data(), size);
  }
};

TEST_F(Environment, UnsetIsEmpty) {
  ::unsetenv(kName);
  EXPECT_EQ(look_up(kName), "");
}

TEST_F(Environment, FindsTheValue) {
  ::setenv(kName, "decay_ms=100,verbose=1", 1);
  EXPECT_EQ(look_up(kName), "decay_ms=100,verbose=1");
}

TEST_F(Environment, AnEmptyValueIsAsGoodAsNone) {
  ::setenv(kName, "", 1);
  EXPECT_EQ(look_up(kName), "");
}

TEST_F(Environment, NamesMatchWhole) {
  ::setenv(kName, "value", 1);
  EXPECT_EQ(look_up("CARREL"), "");
  EXPECT_EQ(look_up("CARREL_OPTIONS_TOO"), "");
  EXPECT_EQ(look_up("ARREL_OPTIONS"), "");
}

TEST_F(Environment, AValueMayHoldEqualSigns) {
  ::setenv(kName, "=a=b=", 1);
  EXPECT_EQ(look_up(kName), "=a=b=");
}

TEST_F(Environment, WhatDoesNotFitIsLeftOut) {
  ::setenv(kName, "12345678", 1);
  EXPECT_EQ(look_up(kName, 9), "12345678");
  EXPECT_EQ(look_up(kName, 8), "");
  EXPECT_EQ(look_up(kName, 1), "");
}

/// Runs the probe with exactly these "NAME=value" entries, as this user if any is given, and
/// returns what it printed.
std::string probe(const std::vector<std::string>& entries, std::size_t capacity = 4096,
                  const char* program = CARREL_ENVIRONMENT_PROBE, uid_t user = 0) {
  int ends[2];
  if (::pipe(ends) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    std::vector<char*> environment;
    for (const std::string& entry : entries) environment.push_back(const_cast<char*>(entry.data()));
    environment.push_back(nullptr);
    const std::string size = std::to_string(capacity);
    if (user != 0 && ::setuid(user) != 0) ::_exit(126);
    ::execle(program, "probe", kName, size.c_str(), nullptr, environment.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  std::string output;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    output.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? output : "the probe failed";
}

std::string entry(const std::string& value) { return std::string(kName) + "=" + value; }

TEST(EarlyEnvironment, ReadsFromTheKernel) {
  EXPECT_EQ(probe({"HOME=/root", entry("shards=2"), "Z=1"}), "8:shards=2");
  EXPECT_EQ(probe({entry("first=1")}), "7:first=1");
}

TEST(EarlyEnvironment, IsEmptyWhenUnset) {
  EXPECT_EQ(probe({}), "0:");
  EXPECT_EQ(probe({"HOME=/root", "CARREL_OPTIONSX=1", "XCARREL_OPTIONS=1"}), "0:");
}

TEST(EarlyEnvironment, FindsAnEntryAcrossTheEdgesOfItsWindow) {
  // Around 2,048 bytes, where one piece ends and the next begins.
  for (std::size_t before = 2000; before < 2060; before += 3) {
    const std::string filler = "F=" + std::string(before, 'f');
    EXPECT_EQ(probe({filler, entry("decay_ms=42"), "Z=1"}), "11:decay_ms=42") << before;
  }
}

TEST(EarlyEnvironment, SkipsEntriesLongerThanItsWindow) {
  for (const std::size_t length : {2044u, 2045u, 2046u, 2047u, 2048u, 5000u, 20000u}) {
    const std::string filler = "F=" + std::string(length, 'f');
    EXPECT_EQ(probe({filler, entry("verbose=1"), "Z=1"}), "9:verbose=1") << length;
    // What looks like the variable in the middle of a long entry is not it.
    const std::string trap = "T=" + std::string(length, 't') + entry("wrong=1");
    EXPECT_EQ(probe({trap, "Z=1"}), "0:") << length;
  }
}

TEST(EarlyEnvironment, ManyShortEntries) {
  std::vector<std::string> entries;
  for (int i = 0; i < 2000; ++i)
    entries.push_back("N" + std::to_string(i) + "=" + std::to_string(i));
  entries.push_back(entry("cache_kib=8"));
  EXPECT_EQ(probe(entries), "11:cache_kib=8");
}

TEST(EarlyEnvironment, ASetUserIdProgramDoesNotListenToItsCaller) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can make a set-user-id program of root's";
  char folder[] = "/tmp/carrel-secure.XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string program = std::string(folder) + "/probe";
  std::filesystem::copy_file(CARREL_ENVIRONMENT_PROBE, program);
  ::chmod(folder, 0755);
  ::chmod(program.c_str(), 04755);
  const std::string output = probe({entry("verbose=1")}, 4096, program.c_str(), 65534);
  std::filesystem::remove_all(folder);
  if (output.rfind("secure ", 0) != 0) {
    GTEST_SKIP() << "programs in /tmp cannot be set-user-id here: " << output;
  }
  EXPECT_EQ(output, "secure 0:");
}

TEST(EarlyEnvironment, WhatDoesNotFitIsLeftOut) {
  EXPECT_EQ(probe({entry("12345678")}, 9), "8:12345678");
  EXPECT_EQ(probe({entry("12345678")}, 8), "0:");
}

}  // namespace
}  // namespace carrel::core
