// Progress: one line on standard error, rewritten in place, with an estimate of what is left.
// Silent when standard error is no terminal. One at a time; one thread.
#pragma once

#include <chrono>
#include <string>

namespace carrel::tools {

class Progress {
 public:
  // `total` units of work; 0 when unknown: then only the time that went by is shown.
  explicit Progress(std::string what, double total = 0);
  ~Progress();  // removes the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // How far it is, and a word about the present step. Draws ten times a second at most.
  void at(double done, const std::string& detail = {});

 private:
  std::string what_;
  double total_;
  bool shown_;
  std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point drawn_;
};

}  // namespace carrel::tools
