// The table of carrel top.
#include "live/table.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/lines.h"
#include "base/units.h"

namespace carrel::tools {

namespace {

constexpr std::size_t kMostArenas = 5;

double rate(std::uint64_t now, std::uint64_t before, double seconds) {
  return now > before && seconds > 0 ? static_cast<double>(now - before) / seconds : 0;
}

// "1234/s", "12.3/s"; "-" where there is nothing to compare with.
std::string rate_text(const std::optional<double>& value, bool bytes) {
  if (!value) return "-";
  if (bytes) return human_bytes(*value) + "/s";
  return fmt::format("{:.{}f}/s", *value, *value < 10 && *value > 0 ? 1 : 0);
}

class Table {
 public:
  Table(const LiveHeap& heap, const Look& now, const std::optional<Look>& before)
      : heap_(heap), now_(now), before_(before), totals_(now.counters.totals) {}

  std::string text(std::size_t most_classes) {
    head();
    memory();
    classes(most_classes);
    arenas();
    return out_.text();
  }

 private:
  std::optional<double> per_second(std::uint64_t carrel_stats::*member) const {
    if (!before_) return std::nullopt;
    return rate(totals_.*member, before_->counters.totals.*member, now_.at_s - before_->at_s);
  }
  std::string rate_of(std::uint64_t carrel_stats::*member, bool bytes = false) const {
    return rate_text(per_second(member), bytes);
  }

  void head() {
    out_.line("{}", heap_.target().title());
    out_.line("carrel {}{}; RSS {}; threads {}, shards {}", heap_.version(),
              heap_.layout().hardened != 0 ? ", hardened" : "",
              human_bytes(now_.counters.rss_bytes), totals_.threads, totals_.shards);
    if (heap_.others() != 0) {
      out_.line("the largest of {} heaps in this process: {}", heap_.others() + 1, heap_.library());
    }
    out_.line("");
  }

  void memory() {
    const auto row = [this](const char* name, const std::string& value, const std::string& more,
                            const char* event, const std::string& speed) {
      out_.line("  {:<9}{:>10}  {:<29}{:<13}{:>12}", name, value, more, event, speed);
    };
    const auto known = [&](std::uint64_t bytes) {
      return now_.counters.resident_known ? human_bytes(bytes) : std::string("-");
    };
    row("live", human_bytes(totals_.live_bytes),
        fmt::format("in {} blocks", human_count(totals_.live_blocks)), "refills",
        rate_of(&carrel_stats::refills));
    std::uint64_t largest = 0;
    for (const ThreadCounters& thread : now_.counters.threads) {
      largest = std::max(largest, thread.cached_bytes);
    }
    row("cached", human_bytes(totals_.cached_bytes),
        fmt::format("at most {} a thread", human_bytes(largest)), "flushes",
        rate_of(&carrel_stats::flushes));
    row("active", human_bytes(totals_.active_bytes),
        fmt::format("live is {:.0f}% of it", totals_.active_bytes == 0
                                                 ? 0.0
                                                 : 100.0 * static_cast<double>(totals_.live_bytes) /
                                                       static_cast<double>(totals_.active_bytes)),
        "remote frees", rate_of(&carrel_stats::remote_frees));
    row("resident", known(totals_.resident_bytes),
        fmt::format("of {} mapped", human_bytes(totals_.mapped_bytes)), "purges",
        rate_of(&carrel_stats::purges));
    row("dirty", human_bytes(totals_.touched_bytes), "free and not yet given back", "purged",
        rate_of(&carrel_stats::purged_bytes, true));
    row("purged", human_bytes(totals_.purged_bytes), "since the start", "spans",
        rate_of(&carrel_stats::spans));
    row("metadata", human_bytes(totals_.metadata_bytes),
        fmt::format("of it resident {}", known(totals_.metadata_resident_bytes)), "lock waits",
        rate_of(&carrel_stats::contended));
  }

  void classes(std::size_t most) {
    struct Row {
      std::string name;
      std::uint64_t live_bytes;
      std::string rest;
    };
    std::vector<Row> rows;
    for (std::size_t i = 0; i < now_.counters.classes.size(); ++i) {
      const carrel_class_stats& of = now_.counters.classes[i];
      if (of.slabs == 0) continue;
      const auto speed = [&](std::uint64_t carrel_class_stats::*member) -> std::string {
        if (!before_) return "-";
        return rate_text(
            rate(of.*member, before_->counters.classes[i].*member, now_.at_s - before_->at_s),
            false);
      };
      rows.push_back(
          {fmt::format("{} B", of.block_bytes), of.live_blocks * of.block_bytes,
           fmt::format("{:>12}{:>8}{:>9.0f}%{:>9}{:>10}{:>10}", human_count(of.live_blocks),
                       of.slabs,
                       100.0 * static_cast<double>(of.live_blocks) / static_cast<double>(of.slots),
                       human_count(of.cached_blocks), speed(&carrel_class_stats::refills),
                       speed(&carrel_class_stats::flushes))});
    }
    const auto add_whole = [&rows](const char* name, std::uint64_t blocks, std::uint64_t bytes) {
      if (blocks != 0) rows.push_back({name, bytes, fmt::format("{:>12}", human_count(blocks))});
    };
    const HeapCounters& now = now_.counters;
    add_whole("large", totals_.large_blocks - now.guarded_blocks,
              totals_.large_bytes - now.guarded_bytes);
    add_whole("guarded", now.guarded_blocks, now.guarded_bytes);
    std::stable_sort(rows.begin(), rows.end(),
                     [](const Row& a, const Row& b) { return a.live_bytes > b.live_bytes; });
    out_.line("");
    out_.line("  {:<9}{:>10}{:>12}{:>8}{:>10}{:>9}{:>10}{:>10}", "blocks of", "live", "blocks",
              "slabs", "occupied", "cached", "refills", "flushes");
    for (std::size_t i = 0; i < rows.size() && i < most; ++i) {
      out_.line("  {:<9}{:>10}{}", rows[i].name, human_bytes(rows[i].live_bytes), rows[i].rest);
    }
    if (rows.size() > most) out_.line("  and {} more", rows.size() - most);
  }

  void arenas() {
    if (now_.counters.arenas.empty()) return;
    std::vector<ArenaCounters> sorted = now_.counters.arenas;
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const ArenaCounters& a, const ArenaCounters& b) {
                       return a.active_bytes > b.active_bytes;
                     });
    out_.line("");
    out_.line("  {:<9}{:>10}{:>12}{:>12}", "arena", "live", "blocks", "active");
    for (std::size_t i = 0; i < sorted.size() && i < kMostArenas; ++i) {
      out_.line("  {:<9}{:>10}{:>12}{:>12}", sorted[i].number, human_bytes(sorted[i].live_bytes),
                human_count(sorted[i].live_blocks), human_bytes(sorted[i].active_bytes));
    }
    if (sorted.size() > kMostArenas) out_.line("  and {} more", sorted.size() - kMostArenas);
  }

  const LiveHeap& heap_;
  const Look& now_;
  const std::optional<Look>& before_;
  const carrel_stats& totals_;
  Lines out_;
};

}  // namespace

std::string live_table(const LiveHeap& heap, const Look& now, const std::optional<Look>& before,
                       std::size_t most_classes) {
  return Table(heap, now, before).text(most_classes);
}

Json live_json(const LiveHeap& heap, const Look& now, const std::optional<Look>& before) {
  Json out = {{"schema", "carrel-top"},
              {"version", 1},
              {"process",
               {{"pid", heap.target().pid()},
                {"name", heap.target().name()},
                {"command", heap.target().command()},
                {"rss_bytes", now.counters.rss_bytes}}},
              {"library",
               {{"path", heap.library()},
                {"version", heap.version()},
                {"hardened", heap.layout().hardened != 0}}},
              {"at_s", now.at_s}};
  if (before) {
    Json rates = Json::object();
    for (const TotalField& field : total_fields()) {
      if (!field.counts_up) continue;
      rates[field.name] = rate(now.counters.totals.*field.member,
                               before->counters.totals.*field.member, now.at_s - before->at_s);
    }
    out["rates"] = rates;
  }
  out.update(counters_json(now.counters));
  return out;
}

}  // namespace carrel::tools
