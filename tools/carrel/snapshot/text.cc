// The snapshot as a table for a terminal.
#include <fmt/format.h>

#include <algorithm>

#include "base/lines.h"
#include "base/units.h"
#include "snapshot/document.h"

namespace carrel::tools {

namespace {

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

class Text {
 public:
  Text(const LiveHeap& live, const HeapMap& map, const Summary& sum)
      : live_(live), map_(map), sum_(sum) {}

  std::string make(std::size_t most) {
    head();
    if (map_.resident_known) {
      resident();
    } else {
      out_.line("");
      out_.line("  what is resident is not known: {} cannot be read",
                live_.target().proc_file("pagemap"));
    }
    classes(most);
    worst(most);
    return out_.text();
  }

 private:
  void head() {
    out_.line("{}", live_.target().title());
    out_.line("carrel {}{}; {} of records copied in {:.1f} ms; {}", live_.version(),
              live_.layout().hardened != 0 ? ", hardened" : "", human_bytes(map_.copied_bytes),
              map_.copy_s * 1e3,
              map_.stopped_s > 0 ? fmt::format("stopped for {:.1f} ms", map_.stopped_s * 1e3)
                                 : std::string("not stopped"));
    out_.line("{} live in {} blocks; {} slabs, {} large blocks", human_bytes(sum_.live_bytes),
              human_count(sum_.live_blocks), human_count(sum_.slabs),
              human_count(sum_.large_blocks));
    if (sum_.guarded_blocks != 0) {
      out_.line("{} of the live blocks were sampled and lie between guard pages",
                human_count(sum_.guarded_blocks));
    }
    if (map_.changed_slabs + map_.stray_blocks != 0) {
      out_.line(
          "{} slabs and {} cached blocks changed while they were copied; --stop prevents that",
          map_.changed_slabs, map_.stray_blocks);
    }
    if (live_.others() != 0) {
      out_.line("the largest of {} heaps in this process: {}", live_.others() + 1, live_.library());
    }
  }

  void resident() {
    out_.line("");
    out_.line("  {:<26}{:>10}", "resident", human_bytes(map_.rss_bytes));
    const auto row = [this](const std::string& label, double bytes) {
      out_.line("  {:<26}{:>10}{:>6.1f}%", label,
                bytes < 0 ? "-" + human_bytes(-bytes) : human_bytes(bytes),
                map_.rss_bytes == 0 ? 0.0 : 100 * bytes / static_cast<double>(map_.rss_bytes));
    };
    for (const ResidentPart& part : sum_.resident) {
      if (part.bytes != 0) row("  " + part.label, static_cast<double>(part.bytes));
    }
    row("  unexplained", static_cast<double>(sum_.residue_bytes));
  }

  std::string known(std::uint64_t bytes) const {
    return map_.resident_known ? human_bytes(bytes) : "-";
  }

  void classes(std::size_t most) {
    std::vector<ClassSummary> sorted = sum_.classes;
    const auto memory = [this](const ClassSummary& of) {
      return of.slabs * map_.classes[of.size_class].slab_bytes;
    };
    std::stable_sort(sorted.begin(), sorted.end(),
                     [&](const auto& a, const auto& b) { return memory(a) > memory(b); });
    out_.line("");
    out_.line("  {:<9}{:>8}{:>10}{:>10}{:>10}{:>10}{:>10}{:>11}", "blocks of", "slabs", "live",
              "cached", "free", "occupied", "resident", "free there");
    for (std::size_t i = 0; i < sorted.size() && i < most; ++i) {
      const ClassSummary& of = sorted[i];
      out_.line("  {:<9}{:>8}{:>10}{:>10}{:>10}{:>9.0f}%{:>10}{:>11}",
                fmt::format("{} B", map_.classes[of.size_class].slot_bytes), of.slabs,
                human_count(of.live), human_count(of.cached), human_count(of.free()),
                percent(of.live, of.slots), known(of.resident_bytes), known(of.resident_free));
    }
    if (sorted.size() > most) out_.line("  and {} more", sorted.size() - most);
  }

  void worst(std::size_t most) {
    if (sum_.worst.empty()) return;
    out_.line("");
    out_.line("  slabs whose few live blocks keep most free memory:");
    out_.line("  {:<16}{:>13}{:>12}{:>7}{:>8}{:>11}", "slab", "of", "blocks of", "live", "slots",
              "free there");
    for (std::size_t i = 0; i < sum_.worst.size() && i < most; ++i) {
      const MappedSpan& slab = map_.spans[sum_.worst[i]];
      out_.line("  {:<16}{:>13}{:>12}{:>7}{:>8}{:>11}", fmt::format("{:#x}", map_.address(slab)),
                owner_name(slab), fmt::format("{} B", map_.classes[slab.size_class].slot_bytes),
                slab.live, slab.slots, human_bytes(slab.resident_free));
    }
  }

  const LiveHeap& live_;
  const HeapMap& map_;
  const Summary& sum_;
  Lines out_;
};

}  // namespace

std::string snapshot_table(const LiveHeap& live, const HeapMap& map, const Summary& summary,
                           std::size_t most) {
  return Text(live, map, summary).make(most);
}

}  // namespace carrel::tools
