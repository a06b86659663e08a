// carrel_ctl_*: every listed name can be used as the list says, and nothing else can.
#include <gtest/gtest.h>

#include <carrel/arena.hpp>
#include <carrel/control.hpp>
#include <set>

#include "support/blocks.h"

namespace {

using namespace api_test;

/// The name with a number that exists in place of "<i>": the arena's or 1.
std::string concrete(const char* name, const carrel::Arena& arena) {
  std::string text = name;
  const std::size_t at = text.find("<i>");
  if (at == std::string::npos) return text;
  const std::uint32_t number = text[0] == 'a' ? carrel_arena_number(arena.handle()) : 1;
  return text.replace(at, 3, std::to_string(number));
}

std::string explain(const char* name, carrel_result result) {
  return carrel::ControlError(name, result).what();
}

TEST(Control, EveryListedNameIsReadableOrAnAction) {
  const carrel::Arena arena;
  std::set<std::string> names;
  for (const carrel_ctl_info& info : carrel::controls()) {
    EXPECT_TRUE(names.insert(info.name).second) << info.name << " twice";
    EXPECT_GT(std::strlen(info.meaning), 10u) << info.name;
    if (std::string(info.name).rfind("shard", 0) == 0 && carrel::control("stats.shards") < 2) {
      continue;
    }
    const std::string name = concrete(info.name, arena);
    std::uint64_t number = 0;
    char text[64];
    switch (info.type) {
      case CARREL_CTL_NUMBER:
        EXPECT_EQ(carrel_ctl_read_u64(name.c_str(), &number), CARREL_OK) << name;
        EXPECT_EQ(carrel_ctl_read_text(name.c_str(), text, sizeof text), CARREL_OK) << name;
        EXPECT_EQ(text, std::to_string(std::strtoull(text, nullptr, 10))) << name;
        EXPECT_GT(std::strlen(info.unit), 0u) << name;
        break;
      case CARREL_CTL_WORD:
        EXPECT_EQ(carrel_ctl_read_u64(name.c_str(), &number), CARREL_OK) << name;
        EXPECT_EQ(carrel_ctl_read_text(name.c_str(), text, sizeof text), CARREL_OK) << name;
        EXPECT_GT(std::strlen(text), 0u) << name;
        break;
      case CARREL_CTL_TEXT:
        EXPECT_EQ(carrel_ctl_read_u64(name.c_str(), &number), CARREL_WRONG_TYPE) << name;
        EXPECT_EQ(carrel_ctl_read_text(name.c_str(), text, sizeof text), CARREL_OK) << name;
        break;
      case CARREL_CTL_ACTION:
        EXPECT_EQ(carrel_ctl_read_u64(name.c_str(), &number), CARREL_WRONG_TYPE) << name;
        EXPECT_EQ(carrel_ctl_read_text(name.c_str(), text, sizeof text), CARREL_WRONG_TYPE) << name;
        EXPECT_EQ(carrel_ctl_write_u64(name.c_str(), 1), CARREL_WRONG_TYPE) << name;
        if (name.rfind("profile.", 0) == 0) {  // none was started, or there are none
          const carrel_result result = carrel_ctl_run(name.c_str());
          EXPECT_TRUE(result == CARREL_BAD_ARGUMENT || result == CARREL_UNAVAILABLE) << name;
          break;
        }
        EXPECT_EQ(carrel_ctl_run(name.c_str()), CARREL_OK) << name;
        break;
    }
    if (info.type != CARREL_CTL_ACTION) {
      EXPECT_EQ(carrel_ctl_run(name.c_str()), CARREL_WRONG_TYPE) << name;
    }
  }
  EXPECT_GT(names.size(), 40u);
}

TEST(Control, WhatIsWritableTakesItsWholeRangeAndNoMore) {
  const carrel::Arena arena;
  int writable = 0;
  for (const carrel_ctl_info& info : carrel::controls()) {
    const std::string name = concrete(info.name, arena);
    if (info.writable == 0) {
      if (info.type == CARREL_CTL_ACTION) continue;
      const carrel_result result = carrel_ctl_write_u64(name.c_str(), 1);
      EXPECT_TRUE(result == CARREL_READ_ONLY || result == CARREL_OUT_OF_RANGE) << name << result;
      continue;
    }
    ++writable;
    const std::uint64_t before = carrel::control(name.c_str());
    // A hardened build takes no profiles.
    if (carrel_ctl_write_u64(name.c_str(), info.maximum) == CARREL_UNAVAILABLE) continue;
    for (const std::uint64_t value : {info.minimum, info.maximum}) {
      EXPECT_EQ(carrel_ctl_write_u64(name.c_str(), value), CARREL_OK) << name;
      EXPECT_EQ(carrel::control(name.c_str()), value) << name;
      EXPECT_EQ(carrel_ctl_write_text(name.c_str(), std::to_string(value).c_str()),
                info.type == CARREL_CTL_WORD ? CARREL_OUT_OF_RANGE : CARREL_OK);
    }
    carrel::set_control(name.c_str(), before);
    if (info.maximum != UINT64_MAX) {
      EXPECT_EQ(carrel_ctl_write_u64(name.c_str(), info.maximum + 1), CARREL_OUT_OF_RANGE) << name;
      EXPECT_EQ(carrel_ctl_write_u64(name.c_str(), UINT64_MAX), CARREL_OUT_OF_RANGE) << name;
    }
    for (const char* bad : {"", "-1", "1x", " 1", "0x10", "99999999999999999999999", "many"}) {
      EXPECT_EQ(carrel_ctl_write_text(name.c_str(), bad), CARREL_OUT_OF_RANGE) << name << bad;
    }
    EXPECT_EQ(carrel::control(name.c_str()), before) << name << " was changed by a refused write";
  }
  EXPECT_GE(writable, 2);
}

TEST(Control, UnknownNamesAreRefusedEverywhere) {
  for (const char* name : {"",
                           ".",
                           "stats",
                           "stats.",
                           "stats.resident",
                           "stats.live_bytes ",
                           "STATS.live_bytes",
                           "class.live_blocks",
                           "class.0.slabs",
                           "class.41.slabs",
                           "class.-1.slabs",
                           "class.1",
                           "class.1.",
                           "class.1.slabs.x",
                           "class.99999999999999999999.slabs",
                           "class.<i>.slabs",
                           "shard.64.slabs",
                           "option.decay",
                           "option.decay_ms.x",
                           "heap.purge.now",
                           "decay_ms"}) {
    std::uint64_t number = 42;
    char text[16] = "kept";
    EXPECT_EQ(carrel_ctl_read_u64(name, &number), CARREL_UNKNOWN_NAME) << name;
    EXPECT_EQ(carrel_ctl_read_text(name, text, sizeof text), CARREL_UNKNOWN_NAME) << name;
    EXPECT_EQ(carrel_ctl_write_u64(name, 1), CARREL_UNKNOWN_NAME) << name;
    EXPECT_EQ(carrel_ctl_write_text(name, "1"), CARREL_UNKNOWN_NAME) << name;
    EXPECT_EQ(carrel_ctl_run(name), CARREL_UNKNOWN_NAME) << name;
    EXPECT_EQ(number, 42u);
    EXPECT_STREQ(text, "kept");
  }
}

TEST(Control, NullArgumentsAreRefused) {
  std::uint64_t number = 0;
  char text[16];
  EXPECT_EQ(carrel_ctl_read_u64(nullptr, &number), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_ctl_read_u64("version", nullptr), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_ctl_read_text(nullptr, text, sizeof text), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_ctl_read_text("version", nullptr, 10), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_ctl_write_u64(nullptr, 1), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_ctl_write_text("option.decay_ms", nullptr), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_ctl_run(nullptr), CARREL_BAD_ARGUMENT);
  EXPECT_EQ(carrel_ctl_list(0, nullptr), CARREL_BAD_ARGUMENT);
  carrel_ctl_info info;
  EXPECT_EQ(carrel_ctl_list(100000, &info), CARREL_OUT_OF_RANGE);
}

TEST(Control, SmallBuffersGetNothingRatherThanHalf) {
  const std::string version = carrel_version();
  std::vector<char> text(version.size() + 1, 'x');
  EXPECT_EQ(carrel_ctl_read_text("version", text.data(), version.size()), CARREL_TOO_SMALL);
  EXPECT_EQ(text[0], '\0');
  EXPECT_EQ(carrel_ctl_read_text("version", text.data(), text.size()), CARREL_OK);
  EXPECT_EQ(text.data(), version);
  EXPECT_EQ(carrel_ctl_read_text("version", text.data(), 0), CARREL_TOO_SMALL);
}

TEST(Control, OptionsAreThoseOfSetOption) {
  const std::uint64_t before = carrel::control("option.decay_ms");
  ASSERT_EQ(carrel_set_option("decay_ms", "1234"), 1);
  EXPECT_EQ(carrel::control("option.decay_ms"), 1234u);
  carrel::set_control("option.decay_ms", "4321");
  EXPECT_EQ(carrel::control_text("option.decay_ms"), "4321");
  carrel::set_control("option.decay_ms", before);
}

TEST(Control, MessagesSayWhatToDo) {
  EXPECT_EQ(explain("option.decay_mss", CARREL_UNKNOWN_NAME),
            "'option.decay_mss': no such control; nearest: 'option.decay_ms'");
  EXPECT_EQ(explain("class.41.slabs", CARREL_UNKNOWN_NAME),
            "'class.41.slabs': there is no such number");
  EXPECT_EQ(
      explain("option.decay_ms", CARREL_OUT_OF_RANGE),
      "'option.decay_ms': the value is out of range: expected a whole number from 0 to 20000");
  EXPECT_EQ(explain("version", CARREL_WRONG_TYPE),
            "'version': it is of another type: number, word, text or action");
  char tiny[8];
  EXPECT_STREQ(carrel_ctl_explain("version", CARREL_WRONG_TYPE, tiny, sizeof tiny), "'versio");
  EXPECT_STREQ(carrel_ctl_explain(nullptr, CARREL_BAD_ARGUMENT, tiny, 1), "");
  const std::string huge(100000, 'a');
  EXPECT_LT(explain(huge.c_str(), CARREL_UNKNOWN_NAME).size(), 320u);
  for (int code = CARREL_OK; code <= CARREL_NO_MEMORY; ++code) {
    EXPECT_GT(std::strlen(carrel_result_text(static_cast<carrel_result>(code))), 3u);
  }
  EXPECT_STREQ(carrel_result_text(static_cast<carrel_result>(99)), "no result of carrel's");
}

TEST(Control, ErrorsAreThrownInCpp) {
  try {
    carrel::set_control("option.purge_thread", 7);
    FAIL() << "nothing was thrown";
  } catch (const carrel::ControlError& error) {
    EXPECT_EQ(error.result(), CARREL_OUT_OF_RANGE);
  }
  EXPECT_THROW(carrel::run_control("stats.live_bytes"), carrel::ControlError);
}

TEST(Control, FlushEmptiesTheThreadsCache) {
  std::vector<void*> blocks(500);
  for (void*& block : blocks) block = malloc(100);
  for (void* block : blocks) free(block);
  EXPECT_GT(carrel::control("thread.cached_bytes"), 10000u);
  carrel::run_control("thread.flush");
  EXPECT_LT(carrel::control("thread.cached_bytes"), 2000u);
}

TEST(Control, PurgeGivesMemoryBack) {
  std::vector<void*> blocks(20000);
  carrel::run_control("heap.purge");
  const std::uint64_t start = carrel::control("stats.resident_bytes");
  for (void*& block : blocks) std::memset(block = malloc(1000), 1, 1000);
  for (void* block : blocks) free(block);
  const std::uint64_t before = carrel::control("stats.resident_bytes");
  EXPECT_GT(before, start + 15 * kMiB);
  carrel::run_control("heap.purge");
  EXPECT_LT(carrel::control("stats.resident_bytes"), start + (before - start) / 4);
}

}  // namespace
