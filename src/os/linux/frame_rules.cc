// Which object has some code, by the loader's list of objects; and what its tables say.
#include "os/linux/frame_rules.h"

#include <elf.h>
#include <link.h>

#include <cstring>

#include "os/linux/frame_tables.h"

namespace carrel::core {

constinit FrameRuleTable frame_rules;

namespace {

std::atomic<bool> may_ask_loader{true};  // a flag by itself, which never becomes true again

/// Objects that were unloaded when the table was last empty. Stored after it was emptied (release),
/// so that who finds the number up to date (acquire) meets no rule from before that.
std::atomic<unsigned long long> known_unloads{0};

/// What is asked of the loader's list.
struct CodeQuery {
  std::uintptr_t return_address;  // 0: how many were unloaded, no more
  bool looked = false;
  bool emptied = false;
  FrameRule rule;
};

/// True if the table was emptied. Several threads may do so at once: the rules that one adds
/// meanwhile are those of code that it runs, so that they stay right until the next unloading.
bool follow_unloads(unsigned long long unloads) {
  if (known_unloads.load(std::memory_order_acquire) == unloads) return false;
  frame_rules.clear();
  known_unloads.store(unloads, std::memory_order_release);
  return true;
}

bool in_segment(const dl_phdr_info& object, const ElfW(Phdr) & segment, std::uintptr_t address) {
  return address - (object.dlpi_addr + segment.p_vaddr) < segment.p_memsz;
}

/// The instructions that a signal's handler returns to, where they are in no table, as with musl:
/// the system call rt_sigreturn.
bool returns_from_signal(std::uintptr_t code, std::uintptr_t end) {
  static constexpr unsigned char kReturn[] = {0x48, 0xC7, 0xC0, 0x0F, 0, 0, 0, 0x0F, 0x05};
  return end - code >= sizeof kReturn &&
         memcmp(at_address<const void>(code), kReturn, sizeof kReturn) == 0;
}

FrameRule rule_in(const dl_phdr_info& object, const ElfW(Phdr) & code, std::uintptr_t address) {
  const ElfW(Phdr)* index = nullptr;
  for (unsigned i = 0; i < object.dlpi_phnum; ++i) {
    if (object.dlpi_phdr[i].p_type == PT_GNU_EH_FRAME) index = &object.dlpi_phdr[i];
  }
  if (index == nullptr) return FrameRule(FrameRule::Kind::kOther);
  const std::uintptr_t index_address = object.dlpi_addr + index->p_vaddr;
  FrameRule rule(FrameRule::Kind::kOther);
  for (unsigned i = 0; i < object.dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = object.dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || !in_segment(object, segment, index_address)) continue;
    const std::uintptr_t start = object.dlpi_addr + segment.p_vaddr;
    rule = read_frame_rule(
        {.index = index_address, .segment_start = start, .segment_end = start + segment.p_memsz},
        address);
  }
  const std::uintptr_t code_end = object.dlpi_addr + code.p_vaddr + code.p_memsz;
  if (rule.kind() == FrameRule::Kind::kOutermost && (code.p_flags & PF_R) != 0 &&
      (code.p_flags & PF_X) != 0 && returns_from_signal(address, code_end)) {
    return FrameRule(FrameRule::Kind::kOther);
  }
  return rule;
}

/// While this runs, glibc unloads nothing.
int look_into(dl_phdr_info* object, std::size_t size, void* argument) {
  auto& query = *static_cast<CodeQuery*>(argument);
  if (!query.looked) {
    query.looked = true;
    if (size >= offsetof(dl_phdr_info, dlpi_subs) + sizeof object->dlpi_subs) {
      query.emptied = follow_unloads(object->dlpi_subs);
    }
    if (query.return_address == 0) return 1;
  }
  for (unsigned i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || !in_segment(*object, segment, query.return_address - 1)) {
      continue;
    }
    query.rule = rule_in(*object, segment, query.return_address);
    frame_rules.add(query.return_address, query.rule);
    return 1;
  }
  return 0;
}

}  // namespace

FrameRule learn_frame_rule(std::uintptr_t return_address, bool& emptied) {
  if (!may_ask_loader.load(std::memory_order_relaxed)) return FrameRule(FrameRule::Kind::kOther);
  CodeQuery query = {.return_address = return_address};
  dl_iterate_phdr(look_into, &query);
  emptied |= query.emptied;
  return query.rule;
}

void never_ask_loader() { may_ask_loader.store(false, std::memory_order_relaxed); }

void forget_unloaded_code() {
  if (!may_ask_loader.load(std::memory_order_relaxed)) return;
  CodeQuery query = {.return_address = 0};
  dl_iterate_phdr(look_into, &query);
}

}  // namespace carrel::core
