// Names and weights of events.
#include "trace/event.h"

#include <cmath>

namespace carrel::tools {

std::string_view op_name(Op op) {
  switch (op) {
    case Op::kMalloc:
      return "malloc";
    case Op::kCalloc:
      return "calloc";
    case Op::kAligned:
      return "aligned";
    case Op::kNew:
      return "new";
    case Op::kNewAligned:
      return "new aligned";
    case Op::kReallocBegin:
      return "realloc begin";
    case Op::kReallocEnd:
      return "realloc end";
    case Op::kFree:
      return "free";
    case Op::kDelete:
      return "delete";
    case Op::kDeleteSized:
      return "delete sized";
    case Op::kDeleteAligned:
      return "delete aligned";
    case Op::kLost:
      return "lost";
    case Op::kThreadStart:
      return "thread start";
    case Op::kThreadExit:
      return "thread exit";
    case Op::kThreadCreate:
      return "thread create";
    case Op::kThreadJoin:
      return "thread join";
    case Op::kFork:
      return "fork";
  }
  return "unknown";
}

double sampled_objects(std::uint64_t size, std::uint64_t interval) {
  if (interval == 0) return 1;
  // An object of n bytes is hit by one of points strewn at random, one per interval on average,
  // with probability 1 - exp(-n / interval). A block of no bytes counts as one byte.
  const double n = size == 0 ? 1 : static_cast<double>(size);
  return 1 / -std::expm1(-n / static_cast<double>(interval));
}

}  // namespace carrel::tools
