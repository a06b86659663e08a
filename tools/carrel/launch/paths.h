// Where this program and what belongs to it lie: in a build tree, an installation or a package.
#pragma once

#include <filesystem>
#include <string>

namespace carrel::tools {

// The directory of this program's file.
std::filesystem::path own_directory();

// A library or helper of ours by its file name ("libcarrel-hook.so"). Throws UserError when it is
// not there.
std::filesystem::path own_file(const std::string& name);

// A program as execvp would find it. Throws UserError when there is none or it may not be executed.
std::filesystem::path find_program(const std::string& word);

}  // namespace carrel::tools
