// heap/options.cc: every key of the table, what is said about mistakes, and that nothing
// else is changed by them.
#include "heap/options.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace carrel::core {
namespace {

struct Complaint {
  std::string key;
  std::string value;
  OptionError error;
  bool operator==(const Complaint&) const = default;
};
void PrintTo(const Complaint& complaint, std::ostream* out) {
  *out << complaint.key << "=" << complaint.value << " (" << static_cast<int>(complaint.error)
       << ")";
}

std::vector<Complaint> complaints;

Options parse(const std::string& text) {
  complaints.clear();
  Options options;
  parse_options(options, TextView(text.data(), text.size()),
                [](TextView key, TextView value, OptionError error) {
                  complaints.push_back({std::string(key.data, key.size),
                                        std::string(value.data, value.size), error});
                });
  return options;
}

std::string text_of(const OptionSpec& spec, std::uint32_t value) {
  return spec.words != nullptr ? spec.words[value] : std::to_string(value);
}

TEST(Options, NothingChangesNothing) {
  for (const char* text : {"", " ", ",", ",,,", " , "}) {
    const Options options = parse(text);
    EXPECT_TRUE(complaints.empty()) << "'" << text << "'";
    for (const OptionSpec& spec : kOptionTable) {
      EXPECT_EQ(options.*(spec.field), Options().*(spec.field)) << spec.key;
    }
  }
}

TEST(Options, EveryKeyTakesItsLimits) {
  for (const OptionSpec& spec : kOptionTable) {
    for (const std::uint32_t value : {spec.minimum, spec.maximum}) {
      const Options options = parse(std::string(spec.key) + "=" + text_of(spec, value));
      EXPECT_TRUE(complaints.empty()) << spec.key;
      EXPECT_EQ(options.*(spec.field), value) << spec.key;
    }
  }
}

TEST(Options, EveryKeyRefusesWhatIsBeyondItsLimits) {
  for (const OptionSpec& spec : kOptionTable) {
    std::vector<std::string> bad = {std::to_string(std::uint64_t{spec.maximum} + 1),
                                    "99999999999999999999",
                                    "-1",
                                    "1x",
                                    "x",
                                    "",
                                    "0x1",
                                    "1.5"};
    if (spec.minimum > 0) bad.push_back(std::to_string(spec.minimum - 1));
    for (const std::string& value : bad) {
      const Options options = parse(std::string(spec.key) + "=" + value);
      EXPECT_EQ(complaints, (std::vector<Complaint>{{spec.key, value, OptionError::kBadValue}}));
      EXPECT_EQ(options.*(spec.field), Options().*(spec.field)) << spec.key << "=" << value;
    }
  }
}

TEST(Options, WordsAreValuesByName) {
  for (const OptionSpec& spec : kOptionTable) {
    if (spec.words == nullptr) continue;
    for (std::uint32_t value = spec.minimum; value <= spec.maximum; ++value) {
      EXPECT_EQ(parse(std::string(spec.key) + "=" + spec.words[value]).*(spec.field), value);
      EXPECT_TRUE(complaints.empty());
    }
    parse(std::string(spec.key) + "=" + spec.words[0] + "x");
    EXPECT_EQ(complaints.size(), 1u);
  }
}

TEST(Options, SeveralAreSeparatedByCommas) {
  const Options options = parse("decay_ms=100,shards=3,verbose=1");
  EXPECT_TRUE(complaints.empty());
  EXPECT_EQ(options.decay_ms, 100u);
  EXPECT_EQ(options.shards, 3u);
  EXPECT_EQ(options.verbose, 1u);
}

TEST(Options, BlanksAroundKeysAndValuesDoNotMatter) {
  const Options options = parse("  decay_ms = 100 ,shards=  3  , ,");
  EXPECT_TRUE(complaints.empty());
  EXPECT_EQ(options.decay_ms, 100u);
  EXPECT_EQ(options.shards, 3u);
}

TEST(Options, TheLastOneWins) { EXPECT_EQ(parse("shards=3,shards=5").shards, 5u); }

TEST(Options, AMistakeDoesNotStopTheRest) {
  const Options options = parse("nonsense,decay_ms=abc,shards=3,colour=blue");
  EXPECT_EQ(options.shards, 3u);
  EXPECT_EQ(complaints, (std::vector<Complaint>{{"nonsense", "", OptionError::kUnknownKey},
                                                {"decay_ms", "abc", OptionError::kBadValue},
                                                {"colour", "blue", OptionError::kUnknownKey}}));
}

TEST(Options, KeysAreMatchedWhole) {
  for (const char* text : {"decay=1", "decay_ms_=1", "DECAY_MS=1", "_decay_ms=1"}) {
    parse(text);
    ASSERT_EQ(complaints.size(), 1u) << text;
    EXPECT_EQ(complaints[0].error, OptionError::kUnknownKey) << text;
  }
}

TEST(Options, TextNeedsNoTerminator) {
  const char text[] = {'s', 'h', 'a', 'r', 'd', 's', '=', '4', '2'};
  Options options;
  parse_options(options, TextView(text, 8), [](TextView, TextView, OptionError) { FAIL(); });
  EXPECT_EQ(options.shards, 4u);
}

TEST(Options, LongTextIsNoTrouble) {
  const std::string key(5000, 'k');
  const std::string value(5000, '7');
  parse(key + "=" + value + ",shards=" + value + ",shards=2");
  ASSERT_EQ(complaints.size(), 2u);
  EXPECT_EQ(complaints[0].key, key);
  EXPECT_NE(nearest_option(TextView(key.data(), key.size())).key, nullptr);
}

TEST(Options, WhileRunningOnlySomeMayChange) {
  for (const OptionSpec& spec : kOptionTable) {
    Options options;
    const std::string text = text_of(spec, spec.maximum);
    const TextView value(text.data(), text.size());
    EXPECT_EQ(set_option(options, spec.key, value, true),
              spec.changeable ? OptionError::kNone : OptionError::kFixed);
    EXPECT_EQ(options.*(spec.field), spec.changeable ? spec.maximum : Options().*(spec.field));
    EXPECT_EQ(set_option(options, spec.key, value, false), OptionError::kNone);
    EXPECT_EQ(options.*(spec.field), spec.maximum);
  }
}

TEST(OptionNames, TheNearestKeyIsTheOneMeant) {
  const std::pair<const char*, const char*> typos[] = {
      {"decay", "decay_ms"},
      {"decay-ms", "decay_ms"},
      {"decayms", "decay_ms"},
      {"purge_thred", "purge_thread"},
      {"purgethread", "purge_thread"},
      {"cache_kb", "cache_kib"},
      {"cache", "cache_kib"},
      {"shard", "shards"},
      {"sahrds", "shards"},
      {"stats_on_exit", "stats_at_exit"},
      {"verbos", "verbose"},
      {"hugepages", "huge_pages"},
  };
  for (const auto& [typo, meant] : typos) EXPECT_STREQ(nearest_option(typo).key, meant) << typo;
}

TEST(OptionNames, AKnownKeyIsNearestToItself) {
  for (const OptionSpec& spec : kOptionTable) {
    EXPECT_STREQ(nearest_option(spec.key).key, spec.key);
    EXPECT_EQ(find_option(spec.key), &spec);
  }
  EXPECT_EQ(find_option("decay"), nullptr);
  EXPECT_EQ(find_option(""), nullptr);
}

TEST(OptionNames, EveryOptionExplainsItself) {
  for (const OptionSpec& spec : kOptionTable) {
    EXPECT_GT(std::string(spec.meaning).size(), 10u) << spec.key;
    EXPECT_LE(spec.minimum, spec.maximum) << spec.key;
  }
}

TEST(OptionValues, TheNearestIsAlwaysValid) {
  for (const OptionSpec& spec : kOptionTable) {
    for (const char* bad :
         {"", "-5", "99999999999999999999", "x", "7seven", "autoo", "nevr", "0x10"}) {
      const std::uint32_t nearest = nearest_value(spec, bad);
      EXPECT_GE(nearest, spec.minimum) << spec.key << "=" << bad;
      EXPECT_LE(nearest, spec.maximum) << spec.key << "=" << bad;
      std::uint32_t parsed = 0;
      const std::string text = text_of(spec, nearest);
      EXPECT_TRUE(parse_value(spec, TextView(text.data(), text.size()), parsed));
      EXPECT_EQ(parsed, nearest);
    }
  }
}

TEST(OptionValues, TheNearestIsTheOneMeant) {
  const OptionSpec& decay = *find_option("decay_ms");
  EXPECT_EQ(nearest_value(decay, "100ms"), 100u);
  EXPECT_EQ(nearest_value(decay, "-3"), decay.minimum);
  EXPECT_EQ(nearest_value(decay, "1000000"), decay.maximum);
  const OptionSpec& shards = *find_option("shards");
  EXPECT_EQ(nearest_value(shards, "0"), 1u);
  EXPECT_EQ(nearest_value(shards, "65"), 64u);
  const OptionSpec& huge = *find_option("huge_pages");
  EXPECT_STREQ(huge.words[nearest_value(huge, "nevr")], "never");
  EXPECT_STREQ(huge.words[nearest_value(huge, "atuo")], "auto");
}

}  // namespace
}  // namespace carrel::core
