// Run-time options: the environment variable, the link-time default and who wins; unknown
// keys and bad values are reported once, with the nearest valid one, and ignored.
//
// Each case runs a small program (programs/options_*.cc) in a fresh process.
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "support/blocks.h"
#include "support/override.h"

namespace {

using namespace api_test;

/// Runs the probe, which prints "ok" when its allocations worked.
ChildResult probe(const char* options, const char* mode = "quiet") {
  return run_program({CARREL_OPTIONS_PROBE, mode}, options);
}

ChildResult linked_probe(const char* options) {
  return run_program({CARREL_OPTIONS_LINKED, "quiet"}, options);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    lines.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return lines;
}

TEST(Options, AreSilentWhenUnsetOrEmpty) {
  for (const char* options :
       {static_cast<const char*>(nullptr), "", "decay_ms=100", "purge_thread=0",
        "purge_thread=1,decay_ms=500", "cache_kib=64", "shards=1", "stats_at_exit=0,verbose=0"}) {
    const ChildResult result = probe(options);
    EXPECT_EQ(result.exit_code, 0) << (options ? options : "(unset)");
    EXPECT_EQ(result.out, "ok\n");
    EXPECT_EQ(result.err, "") << (options ? options : "(unset)");
  }
}

struct BadOption {
  const char* options;
  const char* offender;  // what the report must quote
  const char* nearest;   // what it must offer instead
};

void PrintTo(const BadOption& bad, std::ostream* out) { *out << bad.options; }

class BadOptions : public ::testing::TestWithParam<BadOption> {};

TEST_P(BadOptions, AreReportedOnceAndIgnored) {
  const ChildResult result = probe(GetParam().options);
  EXPECT_EQ(result.exit_code, 0) << "a bad option must not stop the program";
  EXPECT_EQ(result.out, "ok\n");
  const std::vector<std::string> lines = lines_of(result.err);
  ASSERT_EQ(lines.size(), 1u) << result.err;
  EXPECT_EQ(lines[0].rfind("carrel: ", 0), 0u) << lines[0];
  EXPECT_NE(lines[0].find(GetParam().offender), std::string::npos) << lines[0];
  std::string rest = lines[0];
  const std::size_t offender = rest.find(GetParam().offender);
  if (offender != std::string::npos) rest.erase(offender, std::strlen(GetParam().offender));
  EXPECT_NE(rest.find(GetParam().nearest), std::string::npos) << lines[0];
}

INSTANTIATE_TEST_SUITE_P(
    UnknownKeys, BadOptions,
    ::testing::Values(BadOption{"purge_thred=0", "purge_thred", "purge_thread"},
                      BadOption{"decay=1000", "decay", "decay_ms"},
                      BadOption{"dcay_ms=1000", "dcay_ms", "decay_ms"},
                      BadOption{"shard=2", "shard", "shards"},
                      BadOption{"cachekib=64", "cachekib", "cache_kib"},
                      BadOption{"stats_at_exti=0", "stats_at_exti", "stats_at_exit"},
                      BadOption{"decay_ms=100,verbos=0", "verbos", "verbose"}));

INSTANTIATE_TEST_SUITE_P(BadValues, BadOptions,
                         ::testing::Values(BadOption{"decay_ms=soon", "soon", "decay_ms"},
                                           BadOption{"decay_ms=-5", "-5", "0"},
                                           BadOption{"decay_ms=", "decay_ms", ""},
                                           BadOption{"decay_ms", "decay_ms", ""},
                                           BadOption{"decay_ms=1000ms", "1000ms", "whole number"},
                                           BadOption{"purge_thread=yes", "yes", "1"},
                                           BadOption{"purge_thread=2", "2", "1"},
                                           BadOption{"shards=0", "0", "1"},
                                           BadOption{"cache_kib=99999999999999999999",
                                                     "99999999999999999999", "cache_kib"}));

TEST(Options, AGoodOptionBesideABadOneStillCounts) {
  for (const char* options : {"nonsense=1,stats_at_exit=1", "stats_at_exit=1,nonsense=1"}) {
    const ChildResult result = probe(options);
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_NE(result.err.find("nonsense"), std::string::npos);
    EXPECT_GT(lines_of(result.err).size(), 2u) << "statistics are missing: " << result.err;
  }
}

TEST(Options, HostileStringsAreSurvived) {
  const std::string long_key(100000, 'k');
  const std::string long_value = "decay_ms=" + std::string(100000, '9');
  std::string many;
  for (int i = 0; i < 5000; ++i) many += "x=1,";
  for (const std::string& options :
       {long_key, long_value, many, std::string(",,,,"), std::string("=,=,="), std::string("=1"),
        std::string("\x01\xff=\n\t,")}) {
    const ChildResult result = probe(options.c_str());
    EXPECT_EQ(result.exit_code, 0) << options.substr(0, 40);
    EXPECT_EQ(result.out, "ok\n");
    EXPECT_LE(result.err.size(), 1000000u);
  }
}

TEST(Options, StatisticsAtExitComeWhenAskedFor) {
  const ChildResult with = probe("stats_at_exit=1");
  EXPECT_EQ(with.exit_code, 0);
  EXPECT_EQ(with.out, "ok\n");
  EXPECT_GT(lines_of(with.err).size(), 1u);
  EXPECT_EQ(probe("stats_at_exit=0").err, "");
}

TEST(Options, VerboseSaysSomethingOnce) {
  const ChildResult result = probe("verbose=1");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "ok\n");
  EXPECT_NE(result.err.find("carrel"), std::string::npos);
  EXPECT_NE(result.err.find(carrel_version()), std::string::npos) << result.err;
}

TEST(Options, PurgeThreadCanBeSwitchedOff) {
  const ChildResult on = probe("purge_thread=1", "threads");
  EXPECT_EQ(on.out, "threads 2\n") << on.err;
  const ChildResult off = probe("purge_thread=0", "threads");
  EXPECT_EQ(off.out, "threads 1\n") << off.err;
}

TEST(Options, LinkTimeDefaultIsUsed) {
  const ChildResult result = linked_probe(nullptr);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "ok\n");
  EXPECT_GT(lines_of(result.err).size(), 1u) << "carrel_options = \"stats_at_exit=1\" was ignored";
}

TEST(Options, EnvironmentWinsOverTheLinkTimeDefault) {
  EXPECT_EQ(linked_probe("stats_at_exit=0").err, "");
  EXPECT_GT(lines_of(linked_probe("decay_ms=100").err).size(), 1u)
      << "an unrelated key in the environment must leave the default alone";
}

TEST(Options, BadLinkTimeDefaultIsReported) {
  const ChildResult result = run_program({CARREL_OPTIONS_LINKED_BAD, "quiet"}, nullptr);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "ok\n");
  EXPECT_NE(result.err.find("purge_thred"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("purge_thread"), std::string::npos) << result.err;
}

}  // namespace
