// Symbols: see the header. libdw opens each module once, placed at its own link-time addresses, so
// that modules mapped at the same place at different times do not collide.
#include "analysis/symbols.h"

#include <cxxabi.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <fmt/format.h>
#include <gelf.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <unordered_map>

namespace carrel::tools {

namespace {

constexpr Dwfl_Callbacks kCallbacks = {
    .find_elf = dwfl_build_id_find_elf,
    .find_debuginfo = dwfl_standard_find_debuginfo,
    .section_address = dwfl_offline_section_address,
    .debuginfo_path = nullptr,
};

std::string hex_build_id(Dwfl_Module* module) {
  const unsigned char* bits = nullptr;
  GElf_Addr place = 0;
  const int length = dwfl_module_build_id(module, &bits, &place);
  std::string text;
  for (int i = 0; i < length; ++i) text += fmt::format("{:02x}", bits[i]);
  return text;
}

// One file. `usable` false: it is not there, no ELF file, or not the one that was recorded.
class Binary {
 public:
  explicit Binary(const Module& recorded) {
    if (!std::filesystem::is_regular_file(recorded.path)) return;
    dwfl_ = dwfl_begin(&kCallbacks);
    if (dwfl_ == nullptr) return;
    dwfl_report_begin(dwfl_);
    module_ = dwfl_report_elf(dwfl_, recorded.path.c_str(), recorded.path.c_str(), -1, 0, true);
    dwfl_report_end(dwfl_, nullptr, nullptr);
    if (module_ == nullptr) return;
    const std::string build_id = hex_build_id(module_);
    usable_ = recorded.build_id.empty() || build_id.empty() || build_id == recorded.build_id;
    if (!usable_) return;
    Elf* elf = dwfl_module_getelf(module_, &bias_);
    std::size_t count = 0;
    if (elf == nullptr || elf_getphdrnum(elf, &count) != 0) {
      usable_ = false;
      return;
    }
    for (std::size_t i = 0; i < count; ++i) {
      GElf_Phdr header;
      if (gelf_getphdr(elf, static_cast<int>(i), &header) != nullptr && header.p_type == PT_LOAD) {
        segments_.push_back(header);
      }
    }
  }
  ~Binary() {
    if (dwfl_ != nullptr) dwfl_end(dwfl_);
  }
  Binary(const Binary&) = delete;
  Binary& operator=(const Binary&) = delete;

  bool name(std::uint64_t offset, SourceFrame& frame) const {
    if (!usable_) return false;
    const std::optional<std::uint64_t> address = address_of(offset);
    if (!address) return false;
    GElf_Off within = 0;
    GElf_Sym symbol;
    const char* name = dwfl_module_addrinfo(module_, *address + bias_, &within, &symbol, nullptr,
                                            nullptr, nullptr);
    if (name == nullptr) return false;
    // The nearest symbol before a stripped function is a wrong name: it must cover the address.
    if (symbol.st_size != 0 && within >= symbol.st_size) return false;
    frame.function = demangled(name);
    if (Dwfl_Line* line = dwfl_module_getsrc(module_, *address + bias_); line != nullptr) {
      const char* file = dwfl_lineinfo(line, nullptr, &frame.line, nullptr, nullptr, nullptr);
      if (file != nullptr) frame.file = file;
    }
    return true;
  }

 private:
  std::optional<std::uint64_t> address_of(std::uint64_t offset) const {
    for (const GElf_Phdr& segment : segments_) {
      if (offset >= segment.p_offset && offset < segment.p_offset + segment.p_filesz) {
        return offset - segment.p_offset + segment.p_vaddr;
      }
    }
    return std::nullopt;
  }

  Dwfl* dwfl_ = nullptr;
  Dwfl_Module* module_ = nullptr;
  GElf_Addr bias_ = 0;
  bool usable_ = false;
  std::vector<GElf_Phdr> segments_;
};

}  // namespace

std::string demangled(const std::string& name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  if (status != 0 || text == nullptr) return name;
  std::string result = text;
  std::free(text);
  // Rust's older names end in a hash: "core::fmt::write::h0123456789abcdef".
  const std::size_t hash = result.rfind("::h");
  if (hash != std::string::npos && result.size() - hash == 19 &&
      std::all_of(result.begin() + static_cast<std::ptrdiff_t>(hash) + 3, result.end(),
                  [](unsigned char c) { return std::isxdigit(c) != 0; })) {
    result.resize(hash);
  }
  return result;
}

struct Symbols::State {
  std::vector<Module> modules;
  std::map<std::string, std::unique_ptr<Binary>> binaries;
  std::unordered_map<std::uint64_t, SourceFrame> known;

  const Module* module_of(std::uint64_t address) const {
    const Module* found = nullptr;
    for (const Module& module : modules) {
      if (address >= module.begin && address < module.end) found = &module;
    }
    return found;
  }

  SourceFrame look(std::uint64_t address) {
    SourceFrame frame;
    const Module* module = module_of(address);
    if (module == nullptr) {
      frame.function = fmt::format("{:#x}", address);
      return frame;
    }
    frame.module = module->path;
    std::unique_ptr<Binary>& binary = binaries[module->path];
    if (!binary) binary = std::make_unique<Binary>(*module);
    const std::uint64_t offset = address - module->begin + module->offset;
    if (!binary->name(offset, frame)) {
      frame.function =
          fmt::format("{}+{:#x}", std::filesystem::path(module->path).filename().string(), offset);
    }
    return frame;
  }
};

Symbols::Symbols(const std::vector<Module>& modules) : state_(std::make_unique<State>()) {
  state_->modules = modules;
  // libdw would ask servers named there for debugging information.
  unsetenv("DEBUGINFOD_URLS");
}

Symbols::~Symbols() = default;

const SourceFrame& Symbols::of_return_address(std::uint64_t address) {
  const auto [place, fresh] = state_->known.try_emplace(address);
  if (fresh) place->second = state_->look(address == 0 ? 0 : address - 1);
  return place->second;
}

}  // namespace carrel::tools
