// The tables that rules are read from: by hand, as they are in this program, and damaged.
#include <gtest/gtest.h>
#include <link.h>
#include <sys/mman.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "os/linux/frame_tables.h"

#if defined(__x86_64__)

namespace carrel::core {
namespace {

using Kind = FrameRule::Kind;
constexpr std::uint32_t kUnchanged = FrameRule::kUnchanged;

/// Memory that ends, or begins, where nothing can be read.
class BoundedBytes {
 public:
  BoundedBytes(const std::string& bytes, bool at_end) : size_(bytes.size()) {
    room_ = align_up(size_, 4096);
    all_ = static_cast<char*>(
        mmap(nullptr, room_ + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(all_ + 4096, room_, PROT_READ | PROT_WRITE);
    start_ = all_ + 4096 + (at_end ? room_ - size_ : 0);
    memcpy(start_, bytes.data(), size_);
  }
  ~BoundedBytes() { munmap(all_, room_ + 8192); }
  BoundedBytes(const BoundedBytes&) = delete;
  BoundedBytes& operator=(const BoundedBytes&) = delete;
  char* data() { return start_; }
  std::size_t size() const { return size_; }
  std::uintptr_t address() const { return address_of(start_); }

 private:
  std::size_t size_;
  std::size_t room_;
  char* all_;
  char* start_;
};

template <class T>
void put(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void pad(std::string& to) {
  while (to.size() % 4 != 0) to.push_back(0);
}

/// An index with one entry, for 256 bytes of code at 4096 behind its start.
std::string one_entry(const std::string& program, const std::string& letters = "zR",
                      const std::string& common_program = {"\x0C\x07\x08\x90\x01", 5}) {
  std::string common;
  put<std::uint32_t>(common, 0);
  common += '\x01';
  common += letters + '\0';
  common += std::string{"\x01\x78\x10", 3};  // units of 1 and -8; the return address is column 16
  if (letters[0] == 'z') common += std::string{"\x01\x1B", 2};
  common += common_program;
  pad(common);
  std::string all = std::string{"\x01\x1B\x03\x3B", 4};
  put<std::int32_t>(all, 0);
  put<std::uint32_t>(all, 1);
  put<std::int32_t>(all, 4096);
  const std::size_t place_of_entry = all.size();
  put<std::int32_t>(all, 0);
  put<std::uint32_t>(all, static_cast<std::uint32_t>(common.size()));
  const std::size_t common_at = all.size() - 4;
  all += common;
  const auto entry_at = static_cast<std::int32_t>(all.size());
  memcpy(all.data() + place_of_entry, &entry_at, 4);
  std::string entry;
  put<std::uint32_t>(entry, static_cast<std::uint32_t>(all.size() + 4 - common_at));
  put<std::int32_t>(entry, 4096 - static_cast<std::int32_t>(all.size() + 8));
  put<std::uint32_t>(entry, 256);
  entry += '\0';
  entry += program;
  pad(entry);
  put<std::uint32_t>(all, static_cast<std::uint32_t>(entry.size()));
  return all + entry;
}

FrameRule rule_at(const std::string& tables, std::uintptr_t offset) {
  const BoundedBytes bytes(tables, true);
  return read_frame_rule({.index = bytes.address(),
                          .segment_start = bytes.address(),
                          .segment_end = bytes.address() + bytes.size()},
                         bytes.address() + 4096 + offset + 1);
}

TEST(FrameTablesTest, ReadsWhatAFunctionDoes) {
  // push rbp; then mov rbp, rsp; and at 20 all of that undone.
  const std::string program{"\x41\x0E\x10\x86\x02\x43\x0D\x06\x02\x10\x0C\x07\x08\xC6", 14};
  const std::string tables = one_entry(program);
  EXPECT_EQ(rule_at(tables, 0), FrameRule::make(Kind::kFromStackPointer, 8, kUnchanged));
  EXPECT_EQ(rule_at(tables, 1), FrameRule::make(Kind::kFromStackPointer, 16, 2));
  EXPECT_EQ(rule_at(tables, 3), FrameRule::make(Kind::kFromStackPointer, 16, 2));
  EXPECT_EQ(rule_at(tables, 4), FrameRule::make(Kind::kFromFrameRegister, 16, 2));
  EXPECT_EQ(rule_at(tables, 19), FrameRule::make(Kind::kFromFrameRegister, 16, 2));
  EXPECT_EQ(rule_at(tables, 20), FrameRule::make(Kind::kFromStackPointer, 8, kUnchanged));
  EXPECT_EQ(rule_at(tables, 255), FrameRule::make(Kind::kFromStackPointer, 8, kUnchanged));
  EXPECT_EQ(rule_at(tables, 256), FrameRule(Kind::kOutermost));
  EXPECT_EQ(rule_at(tables, ~std::uintptr_t{0}), FrameRule(Kind::kOutermost));
}

TEST(FrameTablesTest, RemembersAndRestores) {
  const std::string program{"\x0E\x20\x0A\x41\x0E\x30\x41\x0B", 8};
  EXPECT_EQ(rule_at(one_entry(program), 0).offset(), 32);
  EXPECT_EQ(rule_at(one_entry(program), 1).offset(), 48);
  EXPECT_EQ(rule_at(one_entry(program), 2).offset(), 32);
  EXPECT_EQ(rule_at(one_entry(std::string(9, '\x0A')), 0).kind(), Kind::kOther);
  EXPECT_EQ(rule_at(one_entry("\x0B"), 0).kind(), Kind::kOther);
}

TEST(FrameTablesTest, KnowsAlignedFramesAndLeavesOtherExpressions) {
  const std::string aligned{"\x0F\x03\x76\x78\x06\x10\x06\x02\x76\x00", 10};
  EXPECT_EQ(rule_at(one_entry(aligned), 0),
            FrameRule::make(Kind::kThroughFrame, -8, FrameRule::kAtFrameRegister));
  const std::string by_stack{"\x0F\x03\x77\x08\x06", 5};
  EXPECT_EQ(rule_at(one_entry(by_stack), 0).kind(), Kind::kOther);
  const std::string by_other_register{"\x0C\x0A\x00", 3};
  EXPECT_EQ(rule_at(one_entry(by_other_register), 0).kind(), Kind::kOther);
}

TEST(FrameTablesTest, TellsTheOutermostAndWhatItCannotSay) {
  EXPECT_EQ(rule_at(one_entry({"\x07\x10", 2}), 0).kind(), Kind::kOutermost);
  EXPECT_EQ(rule_at(one_entry({"\x90\x02", 2}), 0).kind(), Kind::kOther);      // elsewhere
  EXPECT_EQ(rule_at(one_entry({"\x09\x06\x03", 3}), 0).kind(), Kind::kOther);  // in a register
  EXPECT_EQ(rule_at(one_entry("\x3F"), 0).kind(), Kind::kOther);               // no such operation
  EXPECT_EQ(rule_at(one_entry("", "zRS"), 0).kind(), Kind::kOther);            // a signal's
  EXPECT_EQ(rule_at(one_entry("", "zX"), 0).kind(), Kind::kOther);
  EXPECT_EQ(rule_at(one_entry({"\x0E\x80\x80\x80\x01", 5}), 0).kind(), Kind::kOther);  // too large
}

/// The segment of this program, of a library, that has its tables, copied.
struct Copied {
  std::string bytes;
  std::uintptr_t start;
  std::uintptr_t index;
};
std::vector<Copied> loaded_tables() {
  std::vector<Copied> found;
  dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* argument) {
        std::uintptr_t index = 0;
        for (unsigned i = 0; i < object->dlpi_phnum; ++i) {
          const auto& each = object->dlpi_phdr[i];
          if (each.p_type == PT_GNU_EH_FRAME) index = object->dlpi_addr + each.p_vaddr;
        }
        for (unsigned i = 0; i < object->dlpi_phnum; ++i) {
          const auto& each = object->dlpi_phdr[i];
          const std::uintptr_t start = object->dlpi_addr + each.p_vaddr;
          if (each.p_type != PT_LOAD || index - start >= each.p_memsz || index == 0) continue;
          static_cast<std::vector<Copied>*>(argument)->push_back(
              {{at_address<const char>(start), each.p_memsz}, start, index});
        }
        return 0;
      },
      &found);
  return found;
}

/// Some places of code that the index of a copy knows.
std::vector<std::uintptr_t> places(const Copied& tables) {
  std::vector<std::uintptr_t> offsets;
  const char* index = tables.bytes.data() + (tables.index - tables.start);
  std::uint32_t count = 0;
  memcpy(&count, index + 8, 4);
  for (std::uint32_t i = 0; i < count; i += 1 + count / 64) {
    std::int32_t code = 0;
    memcpy(&code, index + 12 + 8 * std::size_t{i}, 4);
    for (const int inside : {1, 5, 23}) {
      offsets.push_back(static_cast<std::uintptr_t>(std::int64_t{code} + inside));
    }
  }
  return offsets;
}

TEST(FrameTablesTest, IsTheSameWhereverTheTablesLie) {
  int rules = 0;
  for (const Copied& each : loaded_tables()) {
    const BoundedBytes bytes(each.bytes, true);
    const std::uintptr_t index = bytes.address() + (each.index - each.start);
    for (const std::uintptr_t offset : places(each)) {
      const FrameRule rule = read_frame_rule({.index = each.index,
                                              .segment_start = each.start,
                                              .segment_end = each.start + each.bytes.size()},
                                             each.index + offset);
      EXPECT_EQ(rule, read_frame_rule({.index = index,
                                       .segment_start = bytes.address(),
                                       .segment_end = bytes.address() + bytes.size()},
                                      index + offset));
      rules += rule.kind() < Kind::kOutermost ? 1 : 0;
    }
  }
  EXPECT_GE(rules, 300);
}

TEST(FrameTablesTest, DamagedTablesLeadNowhereElse) {
  std::mt19937_64 random(20);
  for (const Copied& each : loaded_tables()) {
    for (const bool at_end : {false, true}) {
      BoundedBytes bytes(each.bytes, at_end);
      const std::uintptr_t index = bytes.address() + (each.index - each.start);
      const FrameTables tables = {.index = index,
                                  .segment_start = bytes.address(),
                                  .segment_end = bytes.address() + bytes.size()};
      const std::size_t before = each.index - each.start;
      for (int round = 0; round < 40; ++round) {
        // Of the tables, which lie behind the index, about one byte in fifty; the index's head not
        // always, as then no more is read.
        const std::size_t first = before + (round % 4 == 0 ? 0 : 12);
        for (std::size_t i = first; i < bytes.size(); i += 1 + random() % 100) {
          bytes.data()[i] = static_cast<char>(random());
        }
        for (const std::uintptr_t offset : places(each)) {
          const FrameRule rule = read_frame_rule(tables, index + offset);
          EXPECT_NE(rule.kind(), Kind::kNone);
        }
        memcpy(bytes.data() + before, each.bytes.data() + before, bytes.size() - before);
      }
    }
  }
}

TEST(FrameTablesTest, CutTablesAreNotReadBeyondTheirEnd) {
  const std::string whole =
      one_entry({"\x41\x0E\x10\x86\x02\x43\x0D\x06\x10\x06\x02\x76\x00\x2E\x08", 15}, "zR");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const FrameRule rule = rule_at(whole.substr(0, size), 200);
    EXPECT_EQ(rule.kind(), Kind::kOther) << size;
  }
  EXPECT_EQ(rule_at(whole, 200).kind(), Kind::kFromFrameRegister);
}

}  // namespace
}  // namespace carrel::core

#endif
