// Files and folders of ours that go away with the object that holds them, in TMPDIR.
#pragma once

#include <filesystem>
#include <string>

namespace carrel::tools {

class TemporaryFile {
 public:
  // Makes an empty file whose name begins with "carrel-PURPOSE-". Throws UserError.
  explicit TemporaryFile(const std::string& purpose);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The folder that was asked for, made when it is missing and kept; or one that goes away.
class OutputFolder {
 public:
  // `wanted` empty: a temporary one, named like a TemporaryFile. Throws UserError.
  OutputFolder(const std::string& wanted, const std::string& purpose);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  bool kept() const { return kept_; }

 private:
  bool kept_;
  std::filesystem::path path_;
};

}  // namespace carrel::tools
