// Columns of events: written and read by the same rules, side by side here.
#include "trace/encode.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace carrel::tools {

using format::Bytes;

namespace {

constexpr unsigned kBegin = 0;
constexpr unsigned kEnd = 1;

bool has_address(Op op) { return op <= Op::kDeleteAligned; }
bool is_end(Op op) { return op >= Op::kFree && op <= Op::kDeleteAligned; }
bool is_recorded(unsigned tag) {
  return tag >= static_cast<unsigned>(Op::kMalloc) && tag <= static_cast<unsigned>(Op::kFork) &&
         tag != static_cast<unsigned>(Op::kLost);
}
bool has_alignment(Op op) { return op == Op::kAligned || op == Op::kNewAligned; }

}  // namespace

namespace format {

std::uint64_t head_hash(const ChunkHead& head) {
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto* bytes = reinterpret_cast<const unsigned char*>(&head);
  for (std::size_t i = 0; i < offsetof(ChunkHead, hash); ++i) {
    hash = (hash ^ bytes[i]) * 0x100000001b3;
  }
  return hash;
}

void AddressModel::reset() {
  std::memset(stacks_, 0, sizeof(stacks_));
  std::memset(known_, 0, sizeof(known_));
  last_begin_ = 0;
  last[0] = last[1] = 0;
}

}  // namespace format

EventEncoder::EventEncoder() : model_(std::make_unique<format::AddressModel>()) {}

void EventEncoder::time(std::uint64_t ticks) {
  if (!timed_) {
    timed_ = true;
    first_ = last_ = ticks;
    return;
  }
  // A processor's counter may be read a little out of order; time never goes back in a trace.
  const std::uint64_t now = std::max(ticks, last_);
  tags_.push_back(format::kTagTime);
  format::put_varint(times_, now - last_);
  last_ = now;
}

void EventEncoder::address(unsigned tag, std::uint64_t address, unsigned kind,
                           std::uint64_t expected) {
  unsigned hint = format::kHintExplicit;
  if (address == 0) {
    hint = format::kHintNull;
  } else if (address == expected) {
    hint = format::kHintPredicted;
  } else {
    const auto delta = static_cast<std::int64_t>(address - model_->last[kind]);
    if (delta % 8 == 0) {
      format::put_varint(addresses_, format::zigzag(delta / 8));
    } else {
      hint = format::kHintUnaligned;
      format::put_varint(addresses_, format::zigzag(delta));
    }
  }
  if (address != 0) model_->last[kind] = address;
  tags_.push_back(static_cast<std::uint8_t>(tag | (hint << 5)));
}

void EventEncoder::event(Op op, std::uint64_t value, std::uint64_t size, unsigned alignment_log,
                         std::uint32_t stack) {
  ++events_;
  const unsigned tag = static_cast<unsigned>(op);
  if (stack != 0) {
    tags_.push_back(format::kTagStack);
    format::put_varint(numbers_, stack);
  }
  if (!has_address(op)) {
    tags_.push_back(static_cast<std::uint8_t>(tag));
    format::put_varint(numbers_, value);
    return;
  }
  if (is_end(op)) {
    address(tag, value, kEnd, model_->expect_end());
    model_->ended(value);
  } else if (op == Op::kReallocBegin) {
    format::put_varint(numbers_, size);
    address(tag, value, kEnd, model_->expect_end());
  } else if (op == Op::kReallocEnd) {
    address(tag, value, kBegin, model_->last[kEnd]);
  } else {
    format::put_varint(numbers_, size);
    if (has_alignment(op)) numbers_.push_back(static_cast<std::uint8_t>(alignment_log));
    address(tag, value, kBegin, model_->expect_begin(size));
    if (value != 0) model_->began(value, size);
  }
}

void EventEncoder::finish(Bytes& out) {
  out.clear();
  for (Bytes* column : {&tags_, &numbers_, &addresses_, &times_}) {
    format::put_varint(out, column->size());
    out.insert(out.end(), column->begin(), column->end());
    column->clear();
  }
  events_ = 0;
  first_ = last_;
  model_->reset();
}

EventDecoder::EventDecoder(Bytes chunk, std::uint64_t first, std::uint64_t last, std::uint64_t gap)
    : model_(std::make_unique<format::AddressModel>()),
      chunk_(std::move(chunk)),
      now_(first),
      last_(last),
      gap_(gap) {
  const std::uint8_t* at = chunk_.data();
  const std::uint8_t* const end = at + chunk_.size();
  for (Column* column : {&tags_, &numbers_, &addresses_, &times_}) {
    const std::uint64_t length = format::get_varint(at, end);
    if (length > static_cast<std::uint64_t>(end - at)) {
      throw std::runtime_error("a column of the trace is cut short");
    }
    *column = {at, at + length};
    at += length;
  }
}

std::uint64_t EventDecoder::address(unsigned hint, unsigned kind, std::uint64_t expected) {
  std::uint64_t address = 0;
  switch (hint) {
    case format::kHintNull:
      return 0;
    case format::kHintPredicted:
      address = expected;
      break;
    default: {
      auto delta = static_cast<std::uint64_t>(
          format::unzigzag(format::get_varint(addresses_.at, addresses_.end)));
      if (hint == format::kHintExplicit) delta *= 8;
      address = model_->last[kind] + delta;
    }
  }
  model_->last[kind] = address;
  return address;
}

bool EventDecoder::next(std::vector<RawEvent>& out) {
  out.clear();
  std::uint32_t stack = 0;
  std::uint64_t following = last_;
  while (tags_.at != tags_.end) {
    const unsigned tag = *tags_.at & format::kTagMask;
    const unsigned hint = *tags_.at >> 5;
    ++tags_.at;
    if (tag == format::kTagTime) {
      following = now_ + format::get_varint(times_.at, times_.end);
      if (!out.empty()) break;
      now_ = following;
      following = last_;
      continue;
    }
    if (tag == format::kTagStack) {
      stack = static_cast<std::uint32_t>(format::get_varint(numbers_.at, numbers_.end));
      continue;
    }
    if (!is_recorded(tag)) throw std::runtime_error("an event of no known kind");
    RawEvent event;
    event.op = static_cast<Op>(tag);
    event.stack = std::exchange(stack, 0);
    if (!has_address(event.op)) {
      event.address = format::get_varint(numbers_.at, numbers_.end);
    } else if (is_end(event.op)) {
      event.address = address(hint, kEnd, model_->expect_end());
      model_->ended(event.address);
    } else if (event.op == Op::kReallocBegin) {
      event.size = format::get_varint(numbers_.at, numbers_.end);
      event.address = address(hint, kEnd, model_->expect_end());
    } else if (event.op == Op::kReallocEnd) {
      event.address = address(hint, kBegin, model_->last[kEnd]);
    } else {
      event.size = format::get_varint(numbers_.at, numbers_.end);
      if (has_alignment(event.op)) {
        event.alignment_log =
            static_cast<std::uint8_t>(format::get_varint(numbers_.at, numbers_.end));
      }
      event.address = address(hint, kBegin, model_->expect_begin(event.size));
      if (event.address != 0) model_->began(event.address, event.size);
    }
    out.push_back(event);
  }
  if (out.empty()) return false;
  // Between two stamps events are spread evenly; before a pause they stay together.
  const std::uint64_t span = following - now_;
  const std::uint64_t step = (span > gap_ ? gap_ / 64 : span) / (out.size() + 1);
  for (std::size_t i = 0; i < out.size(); ++i) out[i].ticks = now_ + step * i;
  now_ = following;
  return true;
}

}  // namespace carrel::tools
