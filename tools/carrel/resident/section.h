// The account in the analysis document and on a terminal; analysis/schema.md is the contract.
#pragma once

#include <functional>
#include <string>

#include "analysis/document.h"
#include "resident/account.h"

namespace carrel::tools {

// `frames`: numbers of a stack's frames in the document, outermost first.
Json resident_json(const Account& account, const std::function<Json(std::uint32_t stack)>& frames);

// The sections `resident` and `resident_at_end` of a document beside each other, and the call sites
// that pin free memory. 80 columns; empty where the document has neither.
std::string resident_text(const Json& document);

}  // namespace carrel::tools
