// carrel manual: the manual page carrel(1), its commands and options as --help says them.
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "analysis/document.h"
#include "carrel/carrel.h"
#include "cli/app_tree.h"
#include "cli/command.h"

namespace carrel::tools {

namespace {

struct Options {
  std::string output;
};

constexpr const char* kDescription =
    R"(Measures what a program does with its memory, tries other allocators on it, and says
which one serves it, or to keep what it has.
It works on dynamically linked programs and on any allocator that can be preloaded.
Those installed are found by name (glibc, carrel, jemalloc, mimalloc, tcmalloc and others); any
other is given as NAME=PATH.
The program to run and its arguments stand after
.BR \-\- .
)";

constexpr const char* kExit = R"(.TP
.B 0
It went well;
.BR advise :
keep the allocator that the program has.
.TP
.B 1
It could not be done; one line on standard error says why and what to do.
.TP
.B 2
The command line is wrong.
.TP
.B 10, 20
.BR advise :
switch to another allocator; the measurements do not settle it.
.TP
.B 125
.BR run :
the allocator did not take effect.
.PP
.B run
and
.B record
otherwise end with the program's own status,
.B record
with 128 and the signal that ended it.
)";

constexpr const char* kEnvironment = R"(.TP
.B TMPDIR
Where temporary files are made: plans of replays, which take 32 bytes an event, and traces that
.B advise
does not keep.
.TP
.B LD_PRELOAD
What it holds is preloaded behind carrel's libraries and the allocator.
.TP
.B LD_LIBRARY_PATH
Is searched for allocators too.
)";

// Text as roff takes it: no line begins with a control character, and - stays a hyphen-minus.
std::string roff(const std::string& text) {
  std::string out;
  bool start = true;
  for (const char c : text) {
    if (start && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
    start = c == '\n';
  }
  return out;
}

std::string option_text(const OptionFacts& option) {
  std::string out =
      ".TP\n.B " + roff(option.names.empty() ? option.positional
                                             : fmt::format("{}", fmt::join(option.names, ", ")));
  if (!option.names.empty() && !option.value.empty()) out += " \\fI" + roff(option.value) + "\\fP";
  out += "\n" + roff(option.description) + ".\n";
  if (option.only_these)
    out += "One of " + roff(fmt::format("{}", fmt::join(option.values, ", "))) + ".\n";
  if (!option.default_value.empty() && option.default_value != "\"\"") {
    out += "Default: " + roff(option.default_value) + ".\n";
  }
  return out;
}

std::string manual(const std::vector<CommandFacts>& tree) {
  std::string out = fmt::format(
      ".\\\" carrel(1), made by carrel manual from the command's own options.\n"
      ".TH CARREL 1 \"\" \"carrel {}.{}.{}\" \"User Commands\"\n"
      ".SH NAME\ncarrel \\- tell which memory allocator serves a program, by measuring it\n"
      ".SH SYNOPSIS\n",
      CARREL_VERSION_MAJOR, CARREL_VERSION_MINOR, CARREL_VERSION_PATCH);
  for (const CommandFacts& command : tree) {
    if (command.path.empty() || !command.commands.empty()) continue;
    out += ".B carrel " + roff(fmt::format("{}", fmt::join(command.path, " "))) + "\n[options]";
    for (const OptionFacts& option : command.options) {
      if (!option.names.empty() || option.positional == "CMD") continue;
      out += " \\fI" + roff(option.positional) + "\\fP";
    }
    out +=
        std::string(command.takes_program ? " \\-\\- \\fIPROGRAM ARGUMENTS\\fP" : "") + "\n.br\n";
  }
  out += std::string(".SH DESCRIPTION\n") + kDescription + ".SH COMMANDS\n";
  for (const CommandFacts& command : tree) {
    if (command.path.empty()) continue;
    out += ".SS carrel " + roff(fmt::format("{}", fmt::join(command.path, " "))) + "\n" +
           roff(command.summary) + ".\n";
    for (const OptionFacts& option : command.options) out += option_text(option);
    if (!command.footer.empty()) {
      out += ".PP\n.EX\n" + roff(command.footer) + "\n.EE\n";
    }
  }
  out += std::string(".SH EXIT STATUS\n") + kExit + ".SH ENVIRONMENT\n" + kEnvironment;
  return out +
         ".SH SEE ALSO\n.BR carrel (3),\n.BR ms_print (1)\n.PP\n"
         "docs/TOOLS.md of the sources: what is measured, and how.\n";
}

int run(const CLI::App& command, const Options& options) {
  const std::string text = manual(read_tree(*command.get_parent()));
  write_output(text, options.output);
  return kExitOk;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("-o,--output", options->output,
                     "the file to write; standard output if absent");
  return [options, &command] { return run(command, *options); };
}

const Registration kRegistration{
    {210, "manual", "print the manual page", "carrel manual | man -l -", setup}};

}  // namespace

}  // namespace carrel::tools
