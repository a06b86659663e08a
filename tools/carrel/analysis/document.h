// The analysis document as a file: reading with checks, writing, and making the one of a trace.
// analysis/schema.md is its contract.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "resident/picture.h"
#include "trace/trace_reader.h"

namespace carrel::tools {

using Json = nlohmann::ordered_json;

inline constexpr const char* kSchemaName = "carrel-analysis";
inline constexpr int kSchemaVersion = 1;
inline constexpr const char* kDocumentFile = "profile.json";  // in the folder of carrel profile

// Reads a trace from its first event to its last; shows progress. Throws UserError. When
// interrupted, the document covers what was read and says so in provenance.trace.note. `pictures`:
// those that were taken during the recording, by time; with them resident memory is exact.
Json analyse(TraceReader& reader, const std::filesystem::path& trace,
             const std::vector<HeapPicture>& pictures = {});

// Marks a program's section with its failure, if it did fail. Of several processes the one that was
// started counts, whichever is analysed.
void note_ending(Json& program, int exit_code, int exit_signal);

// `place` is a document or the folder that holds one. Throws UserError when there is none, when it
// is no such document, or of a version this program doesn't know.
Json read_document(const std::filesystem::path& place);

// Throws UserError when the file cannot be written. Replaces an older file in one step.
void write_document(const Json& document, const std::filesystem::path& file);

// The same for any text.
void write_file(const std::string& text, const std::filesystem::path& file);

/// To the file `place`, or to standard output where that is empty or "-".
void write_output(const std::string& text, const std::string& place);

}  // namespace carrel::tools
