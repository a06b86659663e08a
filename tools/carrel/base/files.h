// Whole files as text.
#pragma once

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace carrel::tools {

// Empty for one that cannot be read.
inline std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

}  // namespace carrel::tools
