// The verdict on made-up measurements: keep, switch and inconclusive, whoever wins. That carrel can
// lose is a test of its own.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "advise/verdict.h"
#include "base/error.h"

namespace carrel::tools {
namespace {

struct Result {
  std::string name;
  double cpu;
  double rss;
  double spread = 0.005;
};

Json interval(double middle, double spread) {
  return {{"median", middle}, {"low", middle * (1 - spread)}, {"high", middle * (1 + spread)}};
}

// What one run of the program takes on its baseline.
struct Run {
  double cpu_s = 1;
  double rss_bytes = 64 << 20;
};

Json comparison(const std::vector<Result>& results, double noise, const Run& run = {}) {
  Json allocators = Json::array();
  for (const Result& result : results) {
    const Json ratios = {{"cpu_s", interval(result.cpu, result.spread)},
                         {"tail_ns", interval(result.cpu, result.spread)},
                         {"peak_rss_bytes", interval(result.rss, result.spread)}};
    const Json metrics = {{"cpu_s", interval(result.cpu * run.cpu_s, result.spread)},
                          {"tail_ns", interval(result.cpu * 1000, result.spread)},
                          {"peak_rss_bytes", interval(result.rss * run.rss_bytes, result.spread)}};
    allocators.push_back({{"name", result.name},
                          {"path", "/lib/lib" + result.name + ".so"},
                          {"metrics", metrics},
                          {"ratios", ratios}});
  }
  return {{"baseline", results.front().name},
          {"runs", 7},
          {"noise", {{"cpu_s", noise}, {"peak_rss_bytes", noise}, {"tail_ns", noise}}},
          {"allocators", allocators}};
}

Json document(double share) {
  Json out = {{"program", {{"command", {"server", "two words"}}}},
              {"provenance", {{"allocator", {{"name", "glibc"}}}}}};
  out["cpu"] = {{"in_allocator", interval(share, 0.1)},
                {"by", "samples"},
                {"samples", 1000},
                {"samples_in_allocator", static_cast<int>(1000 * share)},
                {"seen", 1.0},
                {"agree", true}};
  return out;
}

Json verdict(double share, const std::vector<Result>& results, VerdictOptions options = {},
             double noise = 0.01) {
  Json measured = document(share);
  if (!results.empty()) measured["comparison"] = comparison(results, noise);
  return decide(measured, options);
}

TEST(Verdict, BelowTheCeilingIsKeepWithoutAnyComparison) {
  const Json result = verdict(0.01, {});
  EXPECT_EQ(result.at("action"), "keep");
  EXPECT_EQ(result.at("exit_code"), kExitKeep);
  EXPECT_EQ(result.at("allocator"), "glibc");
  EXPECT_NE(result.at("headline").get<std::string>().find("1.0%"), std::string::npos);
}

TEST(Verdict, TheUpperBoundOfTheCeilingDecidesNotItsMiddle) {
  Json measured = document(0.028);  // 0.0252 to 0.0308
  EXPECT_THROW(decide(measured, {}), UserError);
}

TEST(Verdict, SwitchesToTheFastestWhenItGainsEnough) {
  const Json result = verdict(0.2, {{"glibc", 1, 1}, {"carrel", 0.88, 1}, {"jemalloc", 0.95, 1}});
  EXPECT_EQ(result.at("action"), "switch");
  EXPECT_EQ(result.at("exit_code"), kExitSwitch);
  EXPECT_EQ(result.at("allocator"), "carrel");
  EXPECT_EQ(result.at("use"), "LD_PRELOAD=/lib/libcarrel.so server 'two words'");
}

TEST(Verdict, RecommendsAnotherWhenCarrelLoses) {
  const Json result = verdict(0.2, {{"glibc", 1, 1}, {"carrel", 0.93, 1}, {"mimalloc", 0.85, 1}});
  EXPECT_EQ(result.at("exit_code"), kExitSwitch);
  EXPECT_EQ(result.at("allocator"), "mimalloc");
}

TEST(Verdict, RecommendsLeavingCarrelWhenItIsTheOneInUse) {
  const Json result = verdict(0.2, {{"carrel", 1, 1}, {"glibc", 0.9, 1}, {"jemalloc", 0.97, 1}});
  EXPECT_EQ(result.at("exit_code"), kExitSwitch);
  EXPECT_EQ(result.at("current"), "carrel");
  EXPECT_EQ(result.at("allocator"), "glibc");
  EXPECT_EQ(result.at("use"), "without a preloaded allocator: the system's own");
}

TEST(Verdict, KeepsWhenNobodyGainsEnough) {
  const Json result = verdict(0.2, {{"glibc", 1, 1}, {"carrel", 0.985, 1}, {"jemalloc", 1.1, 1}});
  EXPECT_EQ(result.at("exit_code"), kExitKeep);
  EXPECT_EQ(result.at("allocator"), "glibc");
}

TEST(Verdict, AnIntervalThatReachesTheGainAskedForIsInconclusiveWhoeverHasIt) {
  // The best by its median cannot gain 3%; the second may.
  const Json result =
      verdict(0.2, {{"glibc", 1, 1}, {"carrel", 0.99, 1, 0.005}, {"jemalloc", 0.995, 1, 0.06}});
  EXPECT_EQ(result.at("exit_code"), kExitInconclusive);
  EXPECT_NE(result.at("headline").get<std::string>().find("jemalloc"), std::string::npos);
}

TEST(Verdict, NoiseDoesNotHideThatAllOthersAreFarBehind) {
  const Json result =
      verdict(0.2, {{"glibc", 1, 1}, {"carrel", 1.4, 1}, {"jemalloc", 1.5, 1}}, {}, 0.12);
  EXPECT_EQ(result.at("exit_code"), kExitKeep);
}

TEST(Verdict, WhatCostsTooMuchNeedNotBeMeasuredBetter) {
  const Json result =
      verdict(0.2, {{"glibc", 1, 1}, {"mimalloc", 0.96, 2.0, 0.05}, {"carrel", 1.05, 1}});
  EXPECT_EQ(result.at("exit_code"), kExitKeep);
}

TEST(Verdict, TheCostThatCountsIsItsMedian) {
  // 40% more memory, the interval from 12% to 68%.
  const Json result = verdict(0.2, {{"glibc", 1, 1}, {"carrel", 0.5, 1.4, 0.2}});
  EXPECT_EQ(result.at("exit_code"), kExitKeep);
}

TEST(Verdict, AProgramThatFailedIsADoubt) {
  Json measured = document(0.01);
  EXPECT_TRUE(decide(measured, {}).at("doubts").empty());
  measured["program"]["failed"] = "exited with status 3";
  const Json result = decide(measured, {});
  EXPECT_EQ(result.at("action"), "keep");
  ASSERT_EQ(result.at("doubts").size(), 1U);
  EXPECT_NE(result.at("doubts").at(0).get<std::string>().find("status 3"), std::string::npos);
}

TEST(Verdict, AGainInsideTheNoiseIsInconclusive) {
  const Json result = verdict(0.2, {{"glibc", 1, 1}, {"carrel", 0.92, 1}}, {}, 0.12);
  EXPECT_EQ(result.at("exit_code"), kExitInconclusive);
}

TEST(Verdict, AnIntervalThatReachesOneIsInconclusive) {
  const Json result = verdict(0.2, {{"glibc", 1, 1}, {"carrel", 0.95, 1, 0.08}});
  EXPECT_EQ(result.at("exit_code"), kExitInconclusive);
}

TEST(Verdict, SpeedThatCostsTooMuchMemoryIsPassedOver) {
  const Json result =
      verdict(0.2, {{"glibc", 1, 1}, {"mimalloc", 0.85, 2.0}, {"carrel", 0.9, 1.02}});
  EXPECT_EQ(result.at("allocator"), "carrel");
  const std::string reason = result.at("reasons").at(0);
  EXPECT_NE(reason.find("mimalloc"), std::string::npos);
  EXPECT_NE(reason.find("100.0% more"), std::string::npos);
}

TEST(Verdict, AmongEqualsTheSmallerWins) {
  const Json result =
      verdict(0.2, {{"glibc", 1, 1}, {"carrel", 0.900, 1.2}, {"jemalloc", 0.903, 0.9}});
  EXPECT_EQ(result.at("allocator"), "jemalloc");
}

TEST(Verdict, ForMemoryTheCeilingOfCpuTimeDoesNotMatter) {
  VerdictOptions options;
  options.goal = Goal::kRss;
  const Json result = verdict(0.001, {{"glibc", 1, 1}, {"jemalloc", 1.01, 0.7}}, options);
  EXPECT_EQ(result.at("exit_code"), kExitSwitch);
  EXPECT_EQ(result.at("allocator"), "jemalloc");
  EXPECT_EQ(result.at("goal"), "rss");
}

TEST(Verdict, HardenedIsNamedWithItsPrice) {
  VerdictOptions options;
  options.hardened = true;
  const Json result =
      verdict(0.2, {{"glibc", 1, 1}, {"carrel", 0.9, 1}, {"scudo", 1.6, 1.1}}, options);
  EXPECT_EQ(result.at("allocator"), "scudo");
  EXPECT_NE(result.at("headline").get<std::string>().find("60.0% more"), std::string::npos);
  EXPECT_EQ(verdict(0.2, {{"glibc", 1, 1}, {"carrel", 0.9, 1}}, options).at("exit_code"),
            kExitInconclusive);
}

TEST(Verdict, AReplayThatIsNotFaithfulDecidesNothing) {
  Json measured = document(0.2);
  measured["replay"] = comparison({{"glibc", 1, 1}, {"carrel", 0.5, 1}}, 0.01);
  measured["fidelity"] = {{"within", false}, {"checks", {{{"what", "peak RSS"}, {"ok", false}}}}};
  EXPECT_EQ(decide(measured, {}).at("exit_code"), kExitInconclusive);
}

TEST(Verdict, AReplayWithLessMemoryThanTheProgramDecidesAboutTimeOnly) {
  Json measured = document(0.2);
  measured["replay"] = comparison({{"glibc", 1, 1}, {"carrel", 0.5, 0.5}}, 0.01);
  measured["fidelity"] = {{"within", true},
                          {"within_memory", false},
                          {"checks", {{{"what", "peak RSS"}, {"ok", false}}}}};
  EXPECT_EQ(decide(measured, {}).at("exit_code"), kExitSwitch);
  VerdictOptions rss;
  rss.goal = Goal::kRss;
  EXPECT_EQ(decide(measured, rss).at("exit_code"), kExitInconclusive);
  measured["fidelity"]["within_memory"] = true;
  EXPECT_EQ(decide(measured, rss).at("exit_code"), kExitSwitch);
}

TEST(Verdict, AFailedAllocatorIsADoubtNotAWinner) {
  Json measured = document(0.2);
  measured["comparison"] = comparison({{"glibc", 1, 1}, {"carrel", 0.99, 1}}, 0.01);
  measured["comparison"]["allocators"].push_back(
      {{"name", "scudo"}, {"failed", "the program ended by signal 11"}});
  const Json result = decide(measured, {});
  EXPECT_EQ(result.at("exit_code"), kExitKeep);
  EXPECT_EQ(result.at("doubts").at(0), "scudo: the program ended by signal 11");
}

// One test for each branch of the decision: what kind of allocator the numbers ask for.

Json verdict_of_run(const Run& run, const std::vector<Result>& results, VerdictOptions options) {
  Json measured = document(0.2);
  measured["comparison"] = comparison(results, 0.01, run);
  return decide(measured, options);
}

std::string kind(const Json& result) { return result.at("kind").get<std::string>(); }

TEST(VerdictKind, DefaultWhereAllocationIsNoBottleneck) {
  const Json result = verdict(0.01, {{"glibc", 1, 1}, {"carrel", 0.5, 0.5}});
  EXPECT_EQ(result.at("action"), "keep");
  EXPECT_EQ(kind(result), "default: allocation is no measured bottleneck");
  EXPECT_TRUE(result.at("doubts").empty());
}

TEST(VerdictKind, WaitingThreadsAreNamedEvenBelowTheCeiling) {
  Json measured = document(0.01);
  measured["cpu"]["sleeping_time"] = 0.3;
  const Json result = decide(measured, {});
  EXPECT_EQ(result.at("action"), "keep");
  EXPECT_NE(result.at("doubts").dump().find("asleep for 30.0%"), std::string::npos) << result;
}

TEST(VerdictKind, ThreadCachingWhereAllocationCostsOrThreadsWait) {
  const std::vector<Result> results = {{"glibc", 1, 1}, {"carrel", 0.8, 1}};
  Json measured = document(0.2);
  measured["comparison"] = comparison(results, 0.01);
  EXPECT_EQ(kind(decide(measured, {})), "fast, thread-caching: allocation is a measured cost");
  measured["cpu"]["sleeping_time"] = 0.2;
  EXPECT_EQ(kind(decide(measured, {})), "fast, thread-caching: threads wait in the allocator");
  const Json result = decide(measured, {.goal = Goal::kTail});
  EXPECT_EQ(result.at("exit_code"), kExitSwitch);
  EXPECT_EQ(kind(result), "fast, thread-caching: the slowest calls are the trouble");
}

TEST(VerdictKind, GivesMemoryBackWhereResidentMemoryIsTheTrouble) {
  const Json result =
      verdict_of_run({}, {{"glibc", 1, 1}, {"carrel", 1, 0.7}}, {.goal = Goal::kRss});
  EXPECT_EQ(result.at("exit_code"), kExitSwitch);
  EXPECT_EQ(kind(result), "one that gives memory back: resident memory is the trouble");
}

TEST(VerdictKind, HardenedWhereAskedFor) {
  const Json result = verdict_of_run({}, {{"glibc", 1, 1}, {"scudo", 1.2, 1.1}, {"carrel", 0.8, 1}},
                                     {.hardened = true});
  EXPECT_EQ(result.at("allocator"), "scudo");
  EXPECT_EQ(kind(result), "hardened: safety was asked for");
}

TEST(VerdictKind, TheSystemsWhereNothingIsGained) {
  const Json result = verdict_of_run({}, {{"glibc", 1, 1}, {"carrel", 0.99, 1}}, {});
  EXPECT_EQ(result.at("action"), "keep");
  EXPECT_EQ(kind(result), "the system's: size and simplicity rule");
  EXPECT_NE(result.at("reasons").dump().find("one more library"), std::string::npos);
}

TEST(VerdictKind, TheSystemsWhereARunIsTooShortToGainFrom) {
  const std::vector<Result> results = {{"glibc", 1, 1}, {"carrel", 0.9, 1}};
  const Json brief = verdict_of_run({.cpu_s = 0.008}, results, {});
  EXPECT_EQ(brief.at("action"), "keep");
  EXPECT_EQ(brief.at("allocator"), "glibc");
  EXPECT_EQ(kind(brief), "the system's: size and simplicity rule");
  EXPECT_NE(brief.at("headline").get<std::string>().find("0.80 ms of CPU time a run"),
            std::string::npos);
  EXPECT_EQ(verdict_of_run({.cpu_s = 0.012}, results, {}).at("action"), "switch");
}

TEST(VerdictKind, TheSystemsWhereAProgramIsTooSmallToGainFrom) {
  const std::vector<Result> results = {{"glibc", 1, 1}, {"carrel", 1, 0.9}};
  const VerdictOptions options = {.goal = Goal::kRss};
  const Json small = verdict_of_run({.rss_bytes = 2 << 20}, results, options);
  EXPECT_EQ(small.at("action"), "keep");
  EXPECT_EQ(kind(small), "the system's: size and simplicity rule");
  EXPECT_NE(small.at("headline").get<std::string>().find("205 KiB a run"), std::string::npos);
  EXPECT_EQ(verdict_of_run({.rss_bytes = 4 << 20}, results, options).at("action"), "switch");
}

TEST(VerdictKind, AnotherOneInUseThatGainsNothingCouldBeLeftOut) {
  const Json result = verdict_of_run({}, {{"jemalloc", 1, 1}, {"glibc", 1.002, 1.01}}, {});
  EXPECT_EQ(result.at("action"), "keep");
  EXPECT_EQ(kind(result), "the system's: size and simplicity rule");
  EXPECT_NE(result.at("reasons").dump().find("jemalloc can be left out"), std::string::npos);
  // Not where it is what keeps the program small.
  EXPECT_EQ(kind(verdict_of_run({}, {{"jemalloc", 1, 1}, {"glibc", 1.002, 1.2}}, {})),
            "default: no other is better by enough");
}

TEST(VerdictKind, AnAllocatorInsideTheProgramCannotBeExchanged) {
  Json measured = document(0.2);
  measured.erase("cpu");
  measured["provenance"]["allocator"] = {{"name", "libc (linked in)"}, {"linked_in", true}};
  measured["replay"] = comparison({{"glibc", 1, 1}, {"carrel", 0.5, 1}}, 0.01);
  measured["fidelity"] = {{"within", false}, {"within_memory", false}, {"checks", Json::array()}};
  const Json result = decide(measured, {});
  EXPECT_EQ(result.at("exit_code"), kExitInconclusive);
  EXPECT_NE(result.at("headline").get<std::string>().find("libc (linked in) is part"),
            std::string::npos);
}

}  // namespace
}  // namespace carrel::tools
