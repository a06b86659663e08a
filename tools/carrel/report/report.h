// The report: the page that the build bundled, with an analysis document in it, as one HTML file
// that needs no network. What the page draws is decided in page/, not here.
#pragma once

#include <string>

#include "analysis/document.h"

namespace carrel::tools {

// The whole file's text.
std::string report_page(const Json& document);

}  // namespace carrel::tools
