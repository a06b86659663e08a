// The configuration of libcarrel-secure.so and its archives. The build puts one such folder on the
// path.
#pragma once

#include "config/config.h"

namespace carrel::core {

inline constexpr Config kPreset = kSecure;

}  // namespace carrel::core
