// The snapshot as a file; snapshot/schema.md is its contract. Compressed where the file's name ends
// in .zst. Reading leaves out the list of all spans: the page and the texts need it no more.
#pragma once

#include <filesystem>
#include <string>

#include "analysis/document.h"
#include "snapshot/summary.h"

namespace carrel::tools {

inline constexpr const char* kSnapshotSchema = "carrel-snapshot";
inline constexpr int kSnapshotVersion = 1;

// The whole document as text.
std::string snapshot_text(const LiveHeap& live, const HeapMap& map, const Summary& summary);

// Returns how many bytes it wrote. Throws UserError when the file cannot be written.
std::size_t write_snapshot(const std::string& text, const std::filesystem::path& file);

// Whether a file may be a snapshot, by how it begins. False for what cannot be read, or only once.
bool is_snapshot(const std::filesystem::path& file);

// Without `spans`. Throws UserError when it is none, or of a version this program doesn't know.
Json read_snapshot(const std::filesystem::path& file);

// For people: where resident memory is, size classes, the worst slabs. 80 columns.
std::string snapshot_table(const LiveHeap& live, const HeapMap& map, const Summary& summary,
                           std::size_t most);

}  // namespace carrel::tools
