// The bundled page is part of this program's data; the document replaces its one marker.
#include "report/report.h"

#include <string_view>

#include "base/error.h"

asm(R"(
  .pushsection .rodata
  .global carrel_report_page_begin
  .global carrel_report_page_end
  .hidden carrel_report_page_begin
  .hidden carrel_report_page_end
carrel_report_page_begin:
  .incbin ")" CARREL_REPORT_PAGE R"("
carrel_report_page_end:
  .byte 0
  .popsection
)");

extern "C" const char carrel_report_page_begin[];
extern "C" const char carrel_report_page_end[];

namespace carrel::tools {

namespace {

constexpr std::string_view kMarker = "{{analysis}}";

// Inside a script element only "<" could end it early, or begin a comment.
std::string escaped(const std::string& text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::string report_page(const Json& document) {
  const std::string_view page(
      carrel_report_page_begin,
      static_cast<std::size_t>(carrel_report_page_end - carrel_report_page_begin));
  const std::size_t place = page.find(kMarker);
  if (place == std::string_view::npos) {
    throw UserError("this carrel was built with a page that has no place for data; build it again");
  }
  std::string out(page.substr(0, place));
  out += escaped(document.dump(-1, ' ', false, Json::error_handler_t::replace));
  out += page.substr(place + kMarker.size());
  return out;
}

}  // namespace carrel::tools
