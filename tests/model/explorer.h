// Which way an execution goes where it could go several ways, and which way the next one goes:
// a depth-first walk over all sequences of choices within bounds.
//
// A choice is numbered; 0 is what happens by default (the running thread goes on, a load sees the
// newest store), everything else costs one of a budget, so that the tree is finite. An execution
// is repeated from its start with the same choices up to the last one, which becomes the next.
// It knows nothing of threads or memory.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace model {

/// How far an execution may stray from its default course.
struct Bounds {
  int preemptions = 0;  // a running thread is stopped although it could go on
  int stale_reads = 0;  // a load sees a store that is not the newest
};

class Explorer {
 public:
  /// Begins the walk at the default execution.
  void begin(Bounds bounds) {
    bounds_ = bounds;
    path_.clear();
    rewind();
  }
  /// Before each execution.
  void rewind() { position_ = preemptions_ = stale_reads_ = 0; }

  /// One of `count` ways; 0 where there is only one.
  int choose_thread(int count) { return choose(count); }
  int choose_preemption(int count) {
    if (preemptions_ >= bounds_.preemptions) return 0;
    const int way = choose(count);
    if (way != 0) ++preemptions_;
    return way;
  }
  int choose_store(int count) {
    if (stale_reads_ >= bounds_.stale_reads) return 0;
    const int way = choose(count);
    if (way != 0) ++stale_reads_;
    return way;
  }

  /// Makes the next execution another one; false when all have been.
  bool advance();

  /// The choices of this execution that are not the default: "12:1,40:2".
  std::string text() const;

  /// True if an execution repeated with the same choices took another course: then whatever is
  /// run depends on more than its choices, and the walk means nothing.
  bool diverged() const { return diverged_; }

 private:
  struct Choice {
    int way;
    int count;
  };

  int choose(int count);

  Bounds bounds_;
  std::vector<Choice> path_;
  std::size_t position_ = 0;
  int preemptions_ = 0;
  int stale_reads_ = 0;
  bool diverged_ = false;
};

}  // namespace model
