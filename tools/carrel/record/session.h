// Session: the channel's other end. Owns the shared memory, reads blocks in the order their threads
// wrote them and feeds each process's trace. One thread calls drain(), another tick().
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "hook/channel.h"
#include "record/recorder.h"
#include "trace/trace_writer.h"

namespace carrel::tools {

class Session {
 public:
  // Makes the channel. Throws UserError when the system refuses.
  explicit Session(const RecordOptions& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  std::string environment() const;  // NAME=VALUE for the program
  channel::Control& control() { return *control_; }

  // Release: who sees the new tick sees a gate that was closed before it.
  void tick() { control_->tick.fetch_add(1, std::memory_order_release); }
  // Takes what is there; true when there was anything.
  bool drain();
  // Writes what has aged, samples memory, looks for processes that ended. Every few milliseconds.
  void keep_house(bool last);
  // Sleeps until blocks are submitted, a few milliseconds at most.
  void wait_for_blocks();
  // Whether a recorded process lives, as the drainer last saw it; false once nobody looks any more.
  // Any thread.
  bool recorded_alive() const {
    return !dead_.load(std::memory_order_relaxed) &&
           recorded_alive_.load(std::memory_order_relaxed);
  }
  // When the other threads have ended: everything that is left in the channel.
  void take_the_rest();
  // Stops recording everywhere; the traces say why.
  void stop(const std::string& why);
  // The drainer ended by an error: stops, says so aloud, and leaves the channel as it is.
  void die(const std::string& why);

  // After the last drain: closes the files.
  void finish(RecordResult& result);

 private:
  struct Stream {
    std::unique_ptr<EventEncoder> encoder;
    std::vector<std::uint64_t> frames;
    std::uint64_t written_ns = 0;  // when its last chunk was written
    std::uint32_t sequence = 0;    // of the block that is next
    std::uint32_t system_id = 0;
    std::uint64_t block_events = 0;  // beginnings and ends of blocks so far
    bool ended = false;
  };
  struct Tracked {
    std::uint32_t index = 0;
    std::int64_t pid = 0;
    std::unique_ptr<TraceWriter> writer;
    std::filesystem::path file;  // where its trace is by now; empty when it was given up
    std::unordered_map<std::uint32_t, std::unique_ptr<Stream>> streams;
    std::map<std::vector<std::uint64_t>, std::uint32_t> stack_numbers;
    std::vector<std::vector<std::uint64_t>> new_stacks;
    std::vector<MemorySample> samples;
    std::uint64_t memory_written_ns = 0;
    std::vector<Module> modules;
    std::size_t modules_written = 0;
    bool unknown_frames = false;
    bool alive = true;
    bool closed = false;
    bool unwritable = false;  // writing failed; what is in the file stays as it is
    std::uint64_t end_ns = 0;
    std::uint64_t end_ticks = 0;
    std::string truncated_why;
    std::string allocator;  // for the eye
    std::optional<HeapPicture> peak;
    std::optional<HeapPicture> end;
    std::uint64_t pictured_bytes = 0;  // resident anonymous memory at the last picture
    std::uint64_t pictured_ns = 0;     // when that was done, and how long it took
    std::uint64_t picture_took_ns = 0;
  };

  // Every write to a trace. The first failure ends the recording of all, aloud.
  void write(Tracked& process, const std::function<void(TraceWriter&)>& what);
  void discover();
  void open_trace(std::uint32_t index);
  bool read_blocks();  // of the processes that are known
  bool read_block(std::uint32_t block);
  void words(Tracked& process, Stream& stream, const std::uint64_t* from, std::uint32_t& at);
  void free_block(std::uint32_t block);
  void flush(Tracked& process, std::uint32_t thread, Stream& stream);
  void check_disk_limit();
  void sample_memory(Tracked& process);
  void picture_if_grown(Tracked& process);
  void take_picture(Tracked& process, bool at_end);
  void read_modules(Tracked& process);
  void write_stacks(Tracked& process);
  void check_alive(Tracked& process);
  void reclaim();
  void check_all_alive();
  bool in_module(const Tracked& process, std::uint64_t pc) const;
  std::uint64_t now_ns() const;
  std::uint64_t ticks() const;

  RecordOptions options_;
  channel::Control* control_ = nullptr;
  int file_ = -1;
  std::vector<std::uint32_t> read_;  // words read of each block
  std::vector<std::unique_ptr<Tracked>> processes_;
  std::vector<std::uint32_t> claimed_;
  std::uint64_t start_ns_ = 0;
  std::uint64_t start_ticks_ = 0;
  double ticks_per_ns_ = 1;
  std::uint64_t sampled_ns_ = 0;
  std::uint64_t reclaimed_ns_ = 0;
  std::uint64_t sample_every_ns_ = 10'000'000;
  std::string stop_why_;
  std::atomic<bool> stopped_{false};
  std::atomic<bool> dead_{false};
  std::atomic<bool> recorded_alive_{true};
};

}  // namespace carrel::tools
