// The process's mapped files with code, and their build ids: what a profile's addresses are looked
// up by afterwards. Neither allocates nor takes a lock, so that a signal handler may call it.
#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>

#include "base/bits.h"
#include "base/text.h"
#include "os/linux/linux_os.h"
#include "os/linux/syscall.h"

namespace carrel::core {
namespace {

/// Lines of /proc/self/maps or another such file, one after the other.
class MapLines {
 public:
  explicit MapLines(const char* path = "/proc/self/maps")
      : file_(raw_syscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path),
                          O_RDONLY | O_CLOEXEC)) {}
  ~MapLines() {
    if (!is_error(file_)) raw_syscall(SYS_close, file_);
  }
  MapLines(const MapLines&) = delete;
  MapLines& operator=(const MapLines&) = delete;

  bool opened() const { return !is_error(file_); }

  /// False at the end. A line is valid until the next call; one that is too long is cut off.
  bool next(TextView& line) {
    for (;;) {
      char* start = window_ + used_;
      const std::size_t left = filled_ - used_;
      auto* end = static_cast<char*>(memchr(start, '\n', left));
      if (end != nullptr) {
        line = {start, static_cast<std::size_t>(end - start)};
        used_ += line.size + 1;
        return true;
      }
      memmove(window_, start, left);
      used_ = 0;
      filled_ = left == sizeof window_ ? 0 : left;
      const long got = is_error(file_)
                           ? 0
                           : raw_syscall(SYS_read, file_, reinterpret_cast<long>(window_ + filled_),
                                         static_cast<long>(sizeof window_ - filled_));
      if (got <= 0) return false;
      filled_ += static_cast<std::size_t>(got);
    }
  }

 private:
  long file_;
  std::size_t used_ = 0;
  std::size_t filled_ = 0;
  char window_[4096 + 512];  // a path and what is before it
};

std::uint64_t take_hex(TextView& text) {
  std::uint64_t value = 0;
  std::size_t i = 0;
  for (; i < text.size; ++i) {
    const char c = text.data[i];
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) break;
    value = value << 4 | static_cast<unsigned>(digit);
  }
  const std::size_t used = i < text.size ? i + 1 : i;  // and what ended it
  text = {text.data + used, text.size - used};
  return value;
}

struct Line {
  std::uintptr_t start;
  std::uintptr_t end;
  bool readable;
  bool executable;
  std::uint64_t offset;
  TextView path;
};

/// "start-end rwxp offset device inode   path"
bool parse(TextView text, Line& line) {
  line.start = take_hex(text);
  line.end = take_hex(text);
  if (text.size < 5 || line.end <= line.start) return false;
  line.readable = text.data[0] == 'r';
  line.executable = text.data[2] == 'x';
  text = {text.data + 5, text.size - 5};
  line.offset = take_hex(text);
  for (int skipped = 0; skipped < 2; ++skipped) {
    while (text.size > 0 && text.data[0] != ' ') text = {text.data + 1, text.size - 1};
    if (text.size > 0) text = {text.data + 1, text.size - 1};
  }
  while (text.size > 0 && text.data[0] == ' ') text = {text.data + 1, text.size - 1};
  line.path = text;
  return true;
}

/// Copies what this process has mapped there. False where it cannot be read: another thread may
/// have unmapped it, its file may have been cut short.
bool copy_memory(void* to, std::uintptr_t from, std::size_t size) {
  iovec local = {.iov_base = to, .iov_len = size};
  iovec remote = {.iov_base = at_address<void>(from), .iov_len = size};
  const long copied =
      raw_syscall(SYS_process_vm_readv, raw_syscall(SYS_getpid), reinterpret_cast<long>(&local), 1,
                  reinterpret_cast<long>(&remote), 1, 0);
  return copied == static_cast<long>(size);
}

std::uint64_t hash_of(TextView text) {
  std::uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
  for (std::size_t i = 0; i < text.size; ++i) {
    hash = (hash ^ static_cast<unsigned char>(text.data[i])) * 0x100000001B3;
  }
  return hash;
}

struct BuildId {
  unsigned char bytes[64];
  std::size_t size = 0;
};

/// The header of an ELF file whose first bytes lie at `start`, mapped up to `end`, and whose
/// program headers do as well; false if there is none.
bool read_header(std::uintptr_t start, std::uintptr_t end, Elf64_Ehdr& header) {
  if (end - start < sizeof header || !copy_memory(&header, start, sizeof header)) return false;
  return memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == ELFCLASS64 &&
         header.e_phentsize == sizeof(Elf64_Phdr) && header.e_phoff <= end - start &&
         header.e_phnum * sizeof(Elf64_Phdr) <= end - start - header.e_phoff;
}

/// The GNU build id of such a file; of size 0 if it has none. And by how much its addresses
/// differ from those in the file.
void look_into_file(std::uintptr_t start, std::uintptr_t end, BuildId& id, std::uintptr_t& bias) {
  id.size = 0;
  bias = start;
  Elf64_Ehdr header;
  if (!read_header(start, end, header)) return;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (!copy_memory(&segment, start + header.e_phoff + i * sizeof segment, sizeof segment)) return;
    if (segment.p_type == PT_LOAD && segment.p_offset == 0) bias = start - segment.p_vaddr;
    if (id.size != 0 || segment.p_type != PT_NOTE || segment.p_offset > end - start ||
        segment.p_filesz > end - start - segment.p_offset) {
      continue;
    }
    std::uintptr_t at = start + segment.p_offset;
    const std::uintptr_t stop = at + segment.p_filesz;
    while (id.size == 0 && stop - at >= sizeof(Elf64_Nhdr)) {
      struct {
        Elf64_Nhdr header;
        char name[4];
      } note = {};
      if (!copy_memory(&note.header, at, sizeof note.header)) return;
      const std::size_t name_bytes = align_up(note.header.n_namesz, 4);
      const std::size_t bytes = sizeof note.header + name_bytes + align_up(note.header.n_descsz, 4);
      if (bytes > stop - at) break;
      if (note.header.n_type == NT_GNU_BUILD_ID && note.header.n_namesz == sizeof note.name &&
          note.header.n_descsz <= sizeof id.bytes && copy_memory(&note, at, sizeof note) &&
          memcmp(note.name, "GNU", sizeof note.name) == 0 &&
          copy_memory(id.bytes, at + sizeof note, note.header.n_descsz)) {
        id.size = note.header.n_descsz;
      }
      at += bytes;
    }
  }
}

}  // namespace

void LinuxOs::for_each_code_mapping(void (*visit)(void* context, const LinuxCodeMapping& mapping),
                                    void* context) {
  MapLines lines;
  TextView text;
  Line line = {};
  // A file's first part, with its headers, is mapped before its code, or with it.
  BuildId build_id;
  std::uint64_t build_id_of = 0;  // the file's path, hashed
  std::uintptr_t bias = 0;
  while (lines.next(text)) {
    if (!parse(text, line) || line.path.size == 0) continue;
    const bool vdso = line.path == TextView("[vdso]");
    if (line.path.data[0] != '/' && !vdso) continue;
    const std::uint64_t file = hash_of(line.path);
    if (file != build_id_of) {
      build_id.size = 0;
      bias = line.start - line.offset;
    }
    build_id_of = file;
    if (line.offset == 0 && line.readable) look_into_file(line.start, line.end, build_id, bias);
    if (!line.executable) continue;
    visit(context, {.start = line.start,
                    .end = line.end,
                    .offset = line.offset,
                    .bias = bias,
                    .path = line.path.data,
                    .path_size = line.path.size,
                    .build_id = build_id.bytes,
                    .build_id_size = build_id.size});
  }
}

namespace {

/// Of the mappings that are ours. In smaps a mapping's line as in maps is followed by others,
/// "Name: number kB".
std::size_t huge_kib(MapLines& lines, bool (*ours)(std::uintptr_t address)) {
  static constexpr TextView kNames[] = {
      "AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:", "Shared_Hugetlb:", "Private_Hugetlb:"};
  TextView text;
  std::size_t kib = 0;
  bool counts = false;
  while (lines.next(text)) {
    if (text.size != 0 && (text.data[0] < 'A' || text.data[0] > 'Z')) {
      Line line = {};
      counts = parse(text, line) && ours(line.start);
    }
    for (const TextView& name : kNames) {
      if (!counts || text.size < name.size || !(TextView(text.data, name.size) == name)) continue;
      std::size_t number = 0;
      for (std::size_t i = name.size; i < text.size; ++i) {
        const char c = text.data[i];
        if (c >= '0' && c <= '9') number = number * 10 + static_cast<std::size_t>(c - '0');
      }
      kib += number;
    }
  }
  return kib;
}

}  // namespace

std::size_t LinuxOs::huge_page_bytes(bool (*ours)(std::uintptr_t address)) {
  // Most processes have none, which their sums say for less.
  MapLines sums("/proc/self/smaps_rollup");
  if (sums.opened() && huge_kib(sums, [](std::uintptr_t) { return true; }) == 0) return 0;
  MapLines lines("/proc/self/smaps");
  return huge_kib(lines, ours) * kKiB;
}

}  // namespace carrel::core
