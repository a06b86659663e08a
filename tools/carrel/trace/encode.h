// Events to bytes and back, for one thread's chunk. The encoder takes the words of the hook's
// channel or single events; the decoder gives events a few at a time. Neither knows of files.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "trace/event.h"
#include "trace/format.h"

namespace carrel::tools {

// An event as recorded: no objects yet, the clock in its own ticks.
struct RawEvent {
  std::uint64_t ticks = 0;
  std::uint64_t address = 0;  // or a number: other thread, process
  std::uint64_t size = 0;
  std::uint32_t stack = 0;
  std::uint8_t alignment_log = 0;
  Op op = Op::kMalloc;
};

class EventEncoder {
 public:
  EventEncoder();
  void time(std::uint64_t ticks);  // for the events that follow; must come before the first
  void event(Op op, std::uint64_t address, std::uint64_t size, unsigned alignment_log,
             std::uint32_t stack);

  std::uint32_t events() const { return events_; }
  std::uint64_t first_ticks() const { return first_; }
  std::uint64_t last_ticks() const { return last_; }
  // The chunk's bytes; the encoder starts anew, at the last time.
  void finish(format::Bytes& out);

 private:
  void address(unsigned tag, std::uint64_t address, unsigned kind, std::uint64_t expected);

  std::unique_ptr<format::AddressModel> model_;
  format::Bytes tags_, numbers_, addresses_, times_;
  std::uint32_t events_ = 0;
  std::uint64_t first_ = 0;
  std::uint64_t last_ = 0;
  bool timed_ = false;
};

class EventDecoder {
 public:
  // `chunk` must stay; `first` and `last` are the chunk head's. `gap` is the distance in ticks
  // beyond which two stamps are not taken for one stretch of work.
  EventDecoder(format::Bytes chunk, std::uint64_t first, std::uint64_t last, std::uint64_t gap);
  // Fills `out` with the events up to the next stamp; false at the end. Throws std::runtime_error,
  // as the constructor does, for bytes that the encoder cannot have written.
  bool next(std::vector<RawEvent>& out);

 private:
  std::uint64_t address(unsigned hint, unsigned kind, std::uint64_t expected);

  struct Column {
    const std::uint8_t* at = nullptr;
    const std::uint8_t* end = nullptr;
  };
  std::unique_ptr<format::AddressModel> model_;
  format::Bytes chunk_;
  Column tags_, numbers_, addresses_, times_;
  std::uint64_t now_;
  std::uint64_t last_;
  std::uint64_t gap_;
};

}  // namespace carrel::tools
