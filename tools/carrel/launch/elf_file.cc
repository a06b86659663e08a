// Reading ELF files with libelf.
#include "launch/elf_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gelf.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <string_view>

#include "base/error.h"
#include "hook/channel.h"

namespace carrel::tools {

namespace {

constexpr std::array kFamily = {
    "malloc",        "free",     "calloc", "realloc", "posix_memalign",
    "aligned_alloc", "memalign", "valloc", "pvalloc", "malloc_usable_size",
    "reallocarray",  "_Znwm",    "_ZdlPv"};

// A symbol that only one allocator has, and whose.
const std::map<std::string_view, const char*>& telltales() {
  static const std::map<std::string_view, const char*> names = {
      {"carrel_malloc", "carrel"},
      {"mallctl", "jemalloc"},
      {"je_mallctl", "jemalloc"},
      {"_rjem_mallctl", "jemalloc"},
      {"mi_malloc", "mimalloc"},
      {"tc_malloc", "tcmalloc"},
      {"MallocExtension_Internal_GetStats", "tcmalloc"},
      {"scalable_malloc", "tbbmalloc"},
      {"rpmalloc", "rpmalloc"},
      {"sn_rust_alloc", "snmalloc"},
      {"__scudo_print_stats", "scudo"}};
  return names;
}

#if defined(__x86_64__)
constexpr int kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr int kMachine = EM_AARCH64;
#endif

void read_dynamic(Elf* elf, Elf_Scn* section, const GElf_Shdr& header, ElfFile& out) {
  Elf_Data* const data = elf_getdata(section, nullptr);
  if (data == nullptr || header.sh_entsize == 0) return;
  for (std::size_t i = 0; i < header.sh_size / header.sh_entsize; ++i) {
    GElf_Dyn entry;
    if (gelf_getdyn(data, static_cast<int>(i), &entry) == nullptr) break;
    if (entry.d_tag != DT_NEEDED && entry.d_tag != DT_SONAME) continue;
    const char* const text = elf_strptr(elf, header.sh_link, entry.d_un.d_val);
    if (text == nullptr) continue;
    if (entry.d_tag == DT_SONAME) {
      out.soname = text;
    } else {
      out.needed.emplace_back(text);
    }
  }
}

void read_symbols(Elf* elf, Elf_Scn* section, const GElf_Shdr& header, ElfFile& out) {
  Elf_Data* const data = elf_getdata(section, nullptr);
  if (data == nullptr || header.sh_entsize == 0) return;
  const bool dynamic = header.sh_type == SHT_DYNSYM;
  for (std::size_t i = 0; i < header.sh_size / header.sh_entsize; ++i) {
    GElf_Sym symbol;
    if (gelf_getsym(data, static_cast<int>(i), &symbol) == nullptr) break;
    if (symbol.st_shndx == SHN_UNDEF) continue;
    const char* const text = elf_strptr(elf, header.sh_link, symbol.st_name);
    if (text == nullptr) continue;
    const std::string_view name(text);
    out.has_own_libc_malloc = out.has_own_libc_malloc || name == "__libc_malloc";
    const auto telltale = telltales().find(name);
    if (telltale != telltales().end()) out.allocators_inside.emplace_back(telltale->second);
    const auto visibility = GELF_ST_VISIBILITY(symbol.st_other);
    if (dynamic && GELF_ST_BIND(symbol.st_info) != STB_LOCAL &&
        (visibility == STV_DEFAULT || visibility == STV_PROTECTED) &&
        std::find(kFamily.begin(), kFamily.end(), name) != kFamily.end()) {
      out.exported.emplace_back(name);
    }
  }
}

// The content of the first note of that owner and type; empty when there is none.
std::string find_note(Elf* elf, std::string_view owner, std::uint32_t type) {
  std::size_t count = 0;
  if (elf_getphdrnum(elf, &count) != 0) return {};
  for (std::size_t i = 0; i < count; ++i) {
    GElf_Phdr header;
    if (gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr || header.p_type != PT_NOTE) {
      continue;
    }
    Elf_Data* const data = elf_getdata_rawchunk(elf, static_cast<std::int64_t>(header.p_offset),
                                                header.p_filesz, ELF_T_NHDR);
    if (data == nullptr) continue;
    GElf_Nhdr note;
    std::size_t name = 0;
    std::size_t content = 0;
    std::size_t at = 0;
    while ((at = gelf_getnote(data, at, &note, &name, &content)) > 0) {
      const char* const bytes = static_cast<const char*>(data->d_buf);
      if (note.n_type == type && note.n_namesz == owner.size() + 1 &&
          std::memcmp(bytes + name, owner.data(), owner.size()) == 0) {
        return {bytes + content, note.n_descsz};
      }
    }
  }
  return {};
}

std::string note_build_id(Elf* elf) {
  std::string hex;
  for (const char byte : find_note(elf, "GNU", NT_GNU_BUILD_ID)) {
    hex += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  }
  return hex;
}

std::uint32_t note_hook_version(Elf* elf) {
  const std::string content = find_note(elf, channel::kNoteOwner, channel::kNoteType);
  std::uint32_t version = 0;
  if (content.size() == sizeof(version)) std::memcpy(&version, content.data(), sizeof(version));
  return version;
}

// An open file under libelf; closes both.
class OpenElf {
 public:
  explicit OpenElf(const std::filesystem::path& path)
      : file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    elf_version(EV_CURRENT);
    if (file_ >= 0) elf_ = elf_begin(file_, ELF_C_READ_MMAP, nullptr);
  }
  ~OpenElf() {
    if (elf_ != nullptr) elf_end(elf_);
    if (file_ >= 0) close(file_);
  }
  OpenElf(const OpenElf&) = delete;
  OpenElf& operator=(const OpenElf&) = delete;
  bool opened() const { return file_ >= 0; }
  Elf* elf() const { return elf_ != nullptr && elf_kind(elf_) == ELF_K_ELF ? elf_ : nullptr; }

 private:
  int file_;
  Elf* elf_ = nullptr;
};

}  // namespace

bool ElfFile::exports(const char* name) const {
  return std::find(exported.begin(), exported.end(), name) != exported.end();
}

ElfFile read_elf(const std::filesystem::path& path) {
  const OpenElf opened(path);
  if (!opened.opened()) {
    throw UserError("cannot read {}: {}", path.string(), std::strerror(errno));
  }
  ElfFile out;
  Elf* const elf = opened.elf();
  if (elf == nullptr) return out;
  out.is_elf = true;
  GElf_Ehdr header;
  if (gelf_getehdr(elf, &header) == nullptr) return out;
  out.same_machine = header.e_machine == kMachine && gelf_getclass(elf) == ELFCLASS64;
  std::size_t count = 0;
  elf_getphdrnum(elf, &count);
  bool dynamic = false;
  for (std::size_t i = 0; i < count; ++i) {
    GElf_Phdr segment;
    if (gelf_getphdr(elf, static_cast<int>(i), &segment) == nullptr) continue;
    dynamic = dynamic || segment.p_type == PT_DYNAMIC;
    if (segment.p_type != PT_INTERP) continue;
    std::size_t size = 0;
    const char* const raw = elf_rawfile(elf, &size);
    if (raw != nullptr && segment.p_offset + segment.p_filesz <= size && segment.p_filesz > 1) {
      out.interpreter.assign(raw + segment.p_offset, segment.p_filesz - 1);
    }
  }
  out.is_library = header.e_type == ET_DYN && dynamic && out.interpreter.empty();
  Elf_Scn* section = nullptr;
  while ((section = elf_nextscn(elf, section)) != nullptr) {
    GElf_Shdr section_header;
    if (gelf_getshdr(section, &section_header) == nullptr) continue;
    if (section_header.sh_type == SHT_DYNAMIC) read_dynamic(elf, section, section_header, out);
    if (section_header.sh_type == SHT_DYNSYM || section_header.sh_type == SHT_SYMTAB) {
      read_symbols(elf, section, section_header, out);
    }
  }
  std::sort(out.allocators_inside.begin(), out.allocators_inside.end());
  out.allocators_inside.erase(
      std::unique(out.allocators_inside.begin(), out.allocators_inside.end()),
      out.allocators_inside.end());
  // A static position-independent executable looks like a library; its soname is what it lacks, and
  // libraries are what it needs.
  if (out.is_library && out.soname.empty() && out.needed.empty() &&
      (access(path.c_str(), X_OK) == 0) && header.e_entry != 0) {
    out.is_library = false;
  }
  out.build_id = note_build_id(elf);
  out.hook_version = note_hook_version(elf);
  return out;
}

std::string build_id_of(const std::filesystem::path& path) {
  const OpenElf opened(path);
  return opened.elf() != nullptr ? note_build_id(opened.elf()) : std::string{};
}

}  // namespace carrel::tools
