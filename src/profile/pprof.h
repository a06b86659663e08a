// A heap profile as pprof reads it: the message Profile of profile.proto, as protobuf encodes it.
//
// Basic design: three passes, none of which allocates. The stacks give the samples, and fill a set
// of addresses; the process's mappings are written; then each address as a location in its mapping.
// A location's id is its address. Nothing is named: pprof finds names by mapping and build id.
// What was freed makes samples of their own, with a label that says how long it lived.
#pragma once

#include <cstring>

#include "base/text.h"
#include "profile/gzip_stream.h"
#include "profile/sample_table.h"

namespace carrel::core {

/// One message, or the packed numbers of one field, in a buffer. What does not fit is left out.
class ProtoMessage {
 public:
  ProtoMessage(unsigned char* buffer, std::size_t capacity) : bytes_(buffer), capacity_(capacity) {}

  void number(std::uint32_t field, std::uint64_t value) {
    if (value == 0) return;  // what is absent reads as zero
    varint(std::uint64_t{field} << 3);
    varint(value);
  }
  void bytes(std::uint32_t field, const void* data, std::size_t size) {
    if (capacity_ - size_ < size + 2 * kMostVarint) return;
    varint(std::uint64_t{field} << 3 | 2);
    varint(size);
    memcpy(bytes_ + size_, data, size);
    size_ += size;
  }
  void varint(std::uint64_t value) {
    if (capacity_ - size_ < kMostVarint) return;
    for (; value >= 0x80; value >>= 7) bytes_[size_++] = static_cast<unsigned char>(value | 0x80);
    bytes_[size_++] = static_cast<unsigned char>(value);
  }
  const void* data() const { return bytes_; }
  std::size_t size() const { return size_; }
  void clear() { size_ = 0; }

 private:
  static constexpr std::size_t kMostVarint = 10;
  unsigned char* bytes_;
  std::size_t capacity_;
  std::size_t size_ = 0;
};

/// A mapped file with code, as the system lists it.
struct CodeMapping {
  std::uintptr_t start;
  std::uintptr_t end;
  std::uint64_t offset;
  TextView path;
  const unsigned char* build_id;
  std::size_t build_id_size;
};

struct PprofHeader {
  std::uint64_t mean_bytes;
  std::uint64_t time_ns;
  std::uint64_t duration_ns;
};

/// Everything the writer needs to remember, zeroed by whoever maps it.
template <class Put>
struct PprofScratch {
  static constexpr std::size_t kMaxMappings = 2048;
  struct Range {
    std::uintptr_t start;
    std::uintptr_t end;
  };

  explicit PprofScratch(Put put) : out(put) {}
  GzipStream<Put> out;
  unsigned char message_bytes[8192];
  unsigned char inner_bytes[4096];
  ProtoMessage message{message_bytes, sizeof message_bytes};
  ProtoMessage inner{inner_bytes, sizeof inner_bytes};
  Range mappings[kMaxMappings];
  std::size_t mapping_count = 0;
};

template <OsLayer Os, class Put>
class PprofWriter {
 public:
  /// `set` is a zeroed table of `set_size`, a power of two, at least twice all stacks' frames.
  PprofWriter(PprofScratch<Put>& scratch, std::uintptr_t* set, std::size_t set_size)
      : scratch_(scratch), set_(set), set_size_(set_size) {}
  PprofWriter(const PprofWriter&) = delete;
  PprofWriter& operator=(const PprofWriter&) = delete;

  /// mappings(visit) calls visit(const CodeMapping&) for each, in rising order of addresses. The
  /// caller holds the table's lock. False when not all could be written.
  template <class Mappings>
  bool write(const SampleTable<Os>& table, const PprofHeader& header, Mappings mappings) {
    write_header(header);
    table.for_each_stack_locked(
        [this](const SampledStack& stack, const StackSums& sums) { write_sample(stack, sums); });
    mappings([this](const CodeMapping& mapping) { write_mapping(mapping); });
    for (std::size_t i = 0; i < set_size_; ++i) {
      if (set_[i] != 0) write_location(set_[i]);
    }
    return scratch_.out.finish();
  }

 private:
  // Positions in the string table; the first must be empty.
  enum Text : std::uint64_t {
    kEmpty,
    kAllocObjects,
    kAllocSpace,
    kInuseObjects,
    kInuseSpace,
    kPeakObjects,
    kPeakSpace,
    kFreedObjects,
    kFreedSpace,
    kLifetime,
    kMicroseconds,
    kLifetimeUpTo,
    kNanoseconds,
    kCount,
    kBytes,
    kSpace,
    kDropFrames,
    kTextCount
  };
  static constexpr const char* kTexts[kTextCount] = {
      "", "alloc_objects", "alloc_space", "inuse_objects", "inuse_space", "peak_objects",
      "peak_space", "freed_objects", "freed_space", "lifetime", "microseconds", "lifetime_up_to",
      "nanoseconds", "count", "bytes", "space",
      // pprof leaves out these frames and what they call: carrel's own, in static programs.
      "carrel::core::.*|carrel_[a-z_]*alloc[a-z_]*|malloc|calloc|realloc|reallocarray|memalign|"
      "posix_memalign|aligned_alloc|valloc|pvalloc|operator new.*"};

  void emit(std::uint32_t field) {
    unsigned char bytes[32];
    ProtoMessage head(bytes, sizeof bytes);
    head.varint(std::uint64_t{field} << 3 | 2);
    head.varint(scratch_.message.size());
    scratch_.out.write(head.data(), head.size());
    scratch_.out.write(scratch_.message.data(), scratch_.message.size());
    scratch_.message.clear();
  }
  void emit_number(std::uint32_t field, std::uint64_t value) {
    unsigned char bytes[32];
    ProtoMessage pair(bytes, sizeof bytes);
    pair.number(field, value);
    scratch_.out.write(pair.data(), pair.size());
  }
  void emit_text(TextView text) {
    unsigned char bytes[32];
    ProtoMessage head(bytes, sizeof bytes);
    head.varint(6 << 3 | 2);
    head.varint(text.size);
    scratch_.out.write(head.data(), head.size());
    scratch_.out.write(text.data, text.size);
    ++texts_;
  }
  void emit_type(std::uint32_t field, Text type, Text unit) {
    scratch_.message.number(1, type);
    scratch_.message.number(2, unit);
    emit(field);
  }

  void write_header(const PprofHeader& header) {
    for (const char* text : kTexts) emit_text(text);
    emit_type(1, kAllocObjects, kCount);
    emit_type(1, kAllocSpace, kBytes);
    emit_type(1, kInuseObjects, kCount);
    emit_type(1, kInuseSpace, kBytes);
    emit_type(1, kPeakObjects, kCount);
    emit_type(1, kPeakSpace, kBytes);
    emit_type(1, kFreedObjects, kCount);
    emit_type(1, kFreedSpace, kBytes);
    emit_type(1, kLifetime, kMicroseconds);
    emit_type(11, kSpace, kBytes);
    emit_number(7, kDropFrames);
    emit_number(9, header.time_ns);
    emit_number(10, header.duration_ns);
    emit_number(12, header.mean_bytes);
    emit_number(14, kInuseSpace);
  }

  void write_sample(const SampledStack& stack, const StackSums& sums) {
    const SampleSum& all = sums.allocated;
    if (all.blocks + sums.live.blocks + sums.at_peak.blocks != 0) {
      write_frames(stack);
      scratch_.inner.clear();
      for (const SampleSum& sum : {sums.allocated, sums.live, sums.at_peak}) write_sum(sum);
      write_zeros(3);
      scratch_.message.bytes(2, scratch_.inner.data(), scratch_.inner.size());
      emit(2);
    }
    if (stack.lifetimes == nullptr) return;
    for (std::size_t i = 0; i < Lifetimes::kBuckets; ++i) {
      const Lifetimes::Bucket& bucket = stack.lifetimes->buckets[i];
      if (bucket.freed.blocks != 0) write_lifetimes(stack, bucket, Lifetimes::bound_ns(i));
    }
  }

  void write_lifetimes(const SampledStack& stack, const Lifetimes::Bucket& bucket,
                       std::uint64_t bound_ns) {
    write_frames(stack);
    scratch_.inner.clear();
    write_zeros(6);
    write_sum(bucket.freed);
    constexpr double kMost = 9.2e18;  // what a signed number holds
    const double total_us = bucket.total_us < kMost ? bucket.total_us + 0.5 : kMost;
    scratch_.inner.varint(static_cast<std::uint64_t>(total_us));
    scratch_.message.bytes(2, scratch_.inner.data(), scratch_.inner.size());
    scratch_.inner.clear();
    scratch_.inner.number(1, kLifetimeUpTo);
    scratch_.inner.number(3, bound_ns);
    scratch_.inner.number(4, kNanoseconds);
    scratch_.message.bytes(3, scratch_.inner.data(), scratch_.inner.size());
    emit(2);
  }

  void write_frames(const SampledStack& stack) {
    scratch_.inner.clear();
    for (std::uint32_t i = 0; i < stack.depth; ++i) {
      // Return addresses: the byte before is in the call.
      const std::uintptr_t address = address_of(stack.frames()[i]) - 1;
      remember(address);
      scratch_.inner.varint(address);
    }
    scratch_.message.bytes(1, scratch_.inner.data(), scratch_.inner.size());
  }

  void write_sum(const SampleSum& sum) {
    scratch_.inner.varint(sum.whole_blocks());
    scratch_.inner.varint(sum.whole_bytes());
  }
  void write_zeros(int count) {
    for (int i = 0; i < count; ++i) scratch_.inner.varint(0);
  }

  void remember(std::uintptr_t address) {
    std::size_t at = mix_bits(address) & (set_size_ - 1);
    while (set_[at] != 0 && set_[at] != address) at = (at + 1) & (set_size_ - 1);
    set_[at] = address;
  }

  void write_mapping(const CodeMapping& mapping) {
    if (scratch_.mapping_count == PprofScratch<Put>::kMaxMappings) return;
    scratch_.mappings[scratch_.mapping_count++] = {mapping.start, mapping.end};
    auto& message = scratch_.message;
    message.number(1, scratch_.mapping_count);
    message.number(2, mapping.start);
    message.number(3, mapping.end);
    message.number(4, mapping.offset);
    message.number(5, texts_);
    if (mapping.build_id_size != 0) message.number(6, texts_ + 1);
    emit(3);
    emit_text(mapping.path);
    if (mapping.build_id_size == 0) return;
    TextBuffer<129> hex;
    for (std::size_t i = 0; i < mapping.build_id_size; ++i) {
      constexpr const char* kDigits = "0123456789abcdef";
      hex << TextView(&kDigits[mapping.build_id[i] >> 4], 1)
          << TextView(&kDigits[mapping.build_id[i] & 15], 1);
    }
    emit_text({hex.data(), hex.size()});
  }

  void write_location(std::uintptr_t address) {
    scratch_.message.number(1, address);
    scratch_.message.number(2, mapping_of(address));
    scratch_.message.number(3, address);
    emit(4);
  }

  /// Its number, from 1 on; 0 for none, as of code that was made at run time.
  std::size_t mapping_of(std::uintptr_t address) const {
    std::size_t low = 0;
    std::size_t high = scratch_.mapping_count;
    while (low < high) {
      const std::size_t middle = (low + high) / 2;
      if (address >= scratch_.mappings[middle].end) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    const bool inside = low < scratch_.mapping_count && address >= scratch_.mappings[low].start;
    return inside ? low + 1 : 0;
  }

  PprofScratch<Put>& scratch_;
  std::uintptr_t* set_;
  std::size_t set_size_;
  std::uint64_t texts_ = 0;
};

}  // namespace carrel::core
