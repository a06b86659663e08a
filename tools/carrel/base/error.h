// UserError: what went wrong, in one line that ends with what to do next. main() prints it after
// "carrel: " and exits with status 1, or 2 for a UsageError: the command line itself is wrong.
// Mistakes of ours are not UserErrors.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace carrel::tools {

class UserError : public std::runtime_error {
 public:
  explicit UserError(const std::string& line) : std::runtime_error(line) {}

  template <typename... Arguments>
  explicit UserError(fmt::format_string<Arguments...> format, Arguments&&... arguments)
      : std::runtime_error(fmt::format(format, std::forward<Arguments>(arguments)...)) {}
};

class UsageError : public UserError {
 public:
  using UserError::UserError;
};

}  // namespace carrel::tools
