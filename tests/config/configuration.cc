// One configuration, its fields given on the compiler's command line: CMakeLists.txt beside
// this file says which compile and which must not.
#include "config/config.h"

constexpr carrel::core::Config kConfiguration{FIELDS};
static_assert(validate(kConfiguration));
