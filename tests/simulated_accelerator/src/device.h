/* The simulated device: virtual time of its streams, waits for them, what is recorded of both.
 * It does not know torch. */
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace sim {

using Ns = int64_t; /* by CLOCK_MONOTONIC */

/* Each is the environment variable SIM_<NAME>, read once. */
struct Settings {
    double gflops = 0.5;          /* peak of matrix products and convolutions */
    double gbps = 0.1;            /* bandwidth of the device's memory, for all other kernels */
    double kernel_us = 2;         /* shortest kernel */
    double latency_us = 4;        /* from a launch to the earliest start */
    double launch_us = 2;         /* host time of a launch */
    double copy_us = 8;           /* what a copy over the link takes in addition */
    double pinned_gbps = 0.2;     /* rate of the link for pinned memory */
    double pageable_gbps = 0.05;  /* and for pageable memory */
    double allocation_us = 300;   /* host time of cudaMalloc and cudaFree */
    double queue = 1024;          /* launches that a stream holds before the next one blocks */
    double memory_mb = 1024;      /* memory of the device */
    double sync_events = 0;       /* 1: traces contain cuda_sync events */
    double spin = 0;              /* 1: waits keep a core busy, as CUDA's do by default */
    std::string script;           /* file of `PART-OF-OPERATOR MICROSECONDS`: fixed durations */
    std::string ledger;           /* file for one JSON object per step */
    std::string counters;         /* the file that tests/substitute_nvml reads */
    std::vector<std::pair<std::string, double>> durations_us; /* from the script */
};
const Settings &settings();

Ns now();
Ns microseconds(double us);

/* -- work -- */

enum class Kind { Kernel, Copy, Fill, Call, Wait };
enum class Engine { Compute, CopyIn, CopyOut }; /* a copy engine does one copy at a time */

struct Work {
    Kind kind;
    std::string name;
    Ns duration;
    int64_t bytes;
    Engine engine = Engine::Compute;
    const char *call = "cudaLaunchKernel";
};

/* Wait until a stream has room for a launch. */
void wait_for_room(int stream);
/* Put work at the end of a stream and return its correlation id. Does not wait. */
int submit(int stream, const Work &work);
/* Put the work of a captured graph at the end of a stream, as one launch. */
void submit_graph(int stream, const std::vector<Work> &nodes);
/* The same as `submit` for a copy of pageable memory: the call returns when the copy has ended. */
void submit_and_wait(int stream, const Work &work);

struct Event {
    Ns when = 0;
    int stream = 0, correlation = 0;
};
void record_event(Event &event, int stream);
void let_stream_wait(int stream, const Event &event);
void synchronize_event(const Event &event);
void synchronize_stream(int stream, bool is_copy = false);
void synchronize_device();
bool has_finished(int stream);
int next_stream_of_pool();

/* -- what a trace contains -- */

struct Record {
    Kind kind;
    std::string name;
    Ns start, end;
    int stream, correlation;
    uint64_t op = 0, range = 0; /* of the profiler: operator and range that were open */
    int thread = 0;
    int64_t bytes = 0;
    int graph_node = -1;
    int awaited_stream = -1, awaited_correlation = -1;
};
void start_recording();
std::vector<Record> stop_recording();
int record_call(const char *name, Ns start, Ns end, int stream = 0);
void open_operator(uint64_t id, bool is_range);
void close_operator(bool is_range);

/* -- memory: a pool of blocks, as torch's caching allocator for CUDA -- */

struct MemoryUse {
    int64_t allocated = 0, reserved = 0, peak = 0, peak_reserved = 0;
    int64_t allocations = 0, frees = 0, segments = 0, retries = 0, failures = 0;
};
/* Return a block and its size, or a null pointer when there is no memory left. */
std::pair<void *, int64_t> take_block(int64_t bytes);
/* Return the size of the block, 0 for memory that is not a block. */
int64_t give_block(void *block);
void release_cached_blocks();
MemoryUse &memory_use();
int64_t memory_limit();

/* -- accounting -- */

/* Write what happened since the last step to the ledger. */
void end_step();

} // namespace sim
