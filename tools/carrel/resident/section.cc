// The account as JSON, and as text from that JSON.
#include "resident/section.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/units.h"

namespace carrel::tools {

namespace {

constexpr std::size_t kMostSitesShown = 5;
constexpr std::size_t kMostFramesShown = 3;
constexpr double kLeastPinned = 0.01;  // of resident memory, to be worth a line

double seconds(std::uint64_t ns) { return static_cast<double>(ns) / 1e9; }

const char* residue_words(const Account& account) {
  return account.by_slabs
             ? "pages that changed between the looks, and pages of zeros that nobody wrote to"
             : "pages that changed between the looks";
}

Json pinned_json(const Account& account, const std::function<Json(std::uint32_t)>& frames) {
  const Pinned& pinned = account.pinned;
  Json sites = Json::array();
  std::vector<std::uint32_t> numbers;
  for (const PinningSite& site : pinned.sites) {
    Json stack = frames(site.stack);
    if (stack.empty()) continue;
    numbers.push_back(site.stack);
    sites.push_back({{"frames", std::move(stack)},
                     {"blocks", std::llround(site.blocks)},
                     {"bytes", std::llround(site.bytes)},
                     {"samples", site.samples}});
  }
  Json out = {{"unit", account.by_slabs ? "slab" : "page"},
              {"free_bytes", pinned.free_bytes},
              {"places", pinned.places},
              {"live_blocks", pinned.live_blocks},
              {"samples", pinned.samples},
              {"sites", std::move(sites)}};
  if (!account.by_slabs) return out;
  Json classes = Json::array();
  for (const PinningClass& of : pinned.classes) {
    classes.push_back({{"block_bytes", of.block_bytes},
                       {"slabs", of.slabs},
                       {"live_blocks", of.live_blocks},
                       {"free_bytes", of.free_bytes}});
  }
  Json worst = Json::array();
  for (const PinnedSlab& slab : pinned.worst) {
    Json of = Json::array();
    for (const std::uint32_t stack : slab.stacks) {
      const auto at = std::find(numbers.begin(), numbers.end(), stack);
      if (at != numbers.end()) of.push_back(at - numbers.begin());
    }
    worst.push_back({{"address", fmt::format("{:#x}", slab.address)},
                     {"block_bytes", slab.block_bytes},
                     {"slots", slab.slots},
                     {"live_blocks", slab.live_blocks},
                     {"free_bytes", slab.free_bytes},
                     {"requested_bytes", slab.requested_bytes},
                     {"oldest_s", seconds(slab.oldest_ns)},
                     {"youngest_s", seconds(slab.youngest_ns)},
                     {"sites", std::move(of)}});
  }
  out["classes"] = std::move(classes);
  out["worst"] = std::move(worst);
  return out;
}

// "inner < caller < its caller", the innermost first.
std::string call_site(const Json& document, const Json& site) {
  const Json& frames = document.at("stacks").at("frames");
  const Json& numbers = site.at("frames");
  std::string out;
  for (std::size_t i = 0; i < std::min(numbers.size(), kMostFramesShown); ++i) {
    const auto number = numbers[numbers.size() - 1 - i].get<std::size_t>();
    out += fmt::format("{}{:.40}", i == 0 ? "" : " < ", frames.at(number).value("function", "?"));
  }
  return out;
}

// Of one part, by its label: null where the section has none.
const Json* part_of(const Json& section, const std::string& label) {
  for (const Json& part : section.at("parts")) {
    if (part.at("label") == label) return &part;
  }
  return nullptr;
}

std::string cell(double bytes, double whole) {
  const std::string size = bytes < 0 ? "-" + human_bytes(-bytes) : human_bytes(bytes);
  return fmt::format("{:>10} {:>6.1f}%", size, whole > 0 ? 100 * bytes / whole : 0);
}

std::string pinned_text(const Json& document, const Json& section) {
  const Json& pinned = section.at("pinned");
  if (pinned.value("free_bytes", 0.0) < kLeastPinned * section.value("rss_bytes", 0.0)) return "";
  const std::string unit = pinned.value("unit", "slab");
  std::string out = fmt::format("  {} of free memory {}, in {} {}s, kept by {} live blocks\n",
                                human_bytes(pinned.value("free_bytes", 0.0)),
                                section.value("at_end", false) ? "at the end" : "then",
                                human_count(pinned.value("places", std::uint64_t{0})), unit,
                                human_count(pinned.value("live_blocks", std::uint64_t{0})));
  const auto samples = pinned.value("samples", std::uint64_t{0});
  const Json& sites = pinned.at("sites");
  if (sites.empty()) {
    return out + "    none of these has a stack; --stack-interval 0 takes every one\n";
  }
  for (std::size_t i = 0; i < std::min(sites.size(), kMostSitesShown); ++i) {
    out += fmt::format("    {:>10}  {:>9} blocks  {}\n", human_bytes(sites[i].value("bytes", 0.0)),
                       human_count(sites[i].value("blocks", std::uint64_t{0})),
                       call_site(document, sites[i]));
  }
  const bool every =
      document.at("provenance").at("trace").value("stack_interval", std::uint64_t{1}) == 0;
  out += every ? fmt::format("    from the stacks of all {} blocks\n", human_count(samples))
               : fmt::format("    estimated from {} blocks with a stack\n", human_count(samples));
  return out;
}

}  // namespace

Json resident_json(const Account& account, const std::function<Json(std::uint32_t stack)>& frames) {
  Json parts = Json::array();
  for (const ResidentPart& part : account.parts) {
    parts.push_back({{"label", part.label}, {"bytes", part.bytes}, {"basis", part.basis}});
  }
  Json out = {
      {"at_s", seconds(account.time_ns)},           {"at_end", account.at_end},
      {"by", account.by_slabs ? "slabs" : "pages"}, {"rss_bytes", account.rss_bytes},
      {"live_blocks", account.live_blocks},         {"requested_bytes", account.requested_bytes}};
  if (account.by_slabs) {
    out["blocks_only_in_trace"] = account.only_in_trace;
    out["blocks_only_in_heap"] = account.only_in_heap;
  }
  out["parts"] = std::move(parts);
  out["residue_bytes"] = account.residue_bytes;
  out["residue_is"] = residue_words(account);
  out["pinned"] = pinned_json(account, frames);
  return out;
}

std::string resident_text(const Json& document) {
  std::vector<const Json*> sections;
  for (const char* name : {"resident", "resident_at_end"}) {
    if (document.contains(name)) sections.push_back(&document.at(name));
  }
  if (sections.empty()) return "";
  std::string out = fmt::format("\n  {:<28}", "resident memory");
  for (const Json* section : sections) {
    out += fmt::format("{:>20}", section->value("at_end", false)
                                     ? "at the end"
                                     : fmt::format("at {:.2f} s", section->value("at_s", 0.0)));
  }
  const auto row = [&](const std::string& label, bool always, const auto& bytes_of) {
    std::string line = fmt::format("\n    {:<26}", label);
    bool any = false;
    for (const Json* section : sections) {
      const double bytes = bytes_of(*section);
      any = any || bytes != 0;
      line += fmt::format("{:>20}", cell(bytes, section->value("rss_bytes", 0.0)));
    }
    if (any || always) out += line;
  };
  row("in all", true, [](const Json& section) { return section.value("rss_bytes", 0.0); });
  std::vector<std::string> labels;  // the two may differ in how they were had
  for (const Json* section : sections) {
    for (const Json& part : section->at("parts")) {
      const auto label = part.at("label").get<std::string>();
      if (std::find(labels.begin(), labels.end(), label) == labels.end()) labels.push_back(label);
    }
  }
  for (const std::string& label : labels) {
    row(label, false, [&](const Json& section) {
      const Json* const found = part_of(section, label);
      return found == nullptr ? 0.0 : found->value("bytes", 0.0);
    });
  }
  row("unexplained", true, [](const Json& section) { return section.value("residue_bytes", 0.0); });
  out += "\n";
  for (const Json* section : sections) {
    if (section->contains("pinned")) out += pinned_text(document, *section);
  }
  return out;
}

}  // namespace carrel::tools
