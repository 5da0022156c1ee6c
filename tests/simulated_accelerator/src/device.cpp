#include "device.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <map>
#include <mutex>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <unordered_map>

#include "ledger.h"

namespace sim {
namespace {

struct Stream {
    Ns end = 0;
    std::deque<Ns> outstanding; /* ends of what was launched and has not ended */
};

/* Streams besides the default one; the sizes of blocks are multiples of ROUNDED bytes. */
constexpr int POOL = 32, ROUNDED = 512;

/* Never destroyed: tensors are freed until the very end of the process. */
std::mutex &mutex = *new std::mutex; /* for all that follows */
auto &streams = *new std::vector<Stream>(1 + POOL);
Ns copy_engines[2];
Ledger &ledger = *new Ledger;
auto &records = *new std::vector<Record>;
std::atomic<bool> recording;
int last_correlation;
MemoryUse memory;
auto &blocks = *new std::unordered_map<void *, int64_t>; /* in use */
auto &cached = *new std::multimap<int64_t, void *>;      /* reserved, not in use */

thread_local std::vector<uint64_t> open_operators, open_ranges;

void read_number(const char *name, double &value)
{
    if (const char *text = std::getenv(name))
        value = std::atof(text);
}

Settings read_settings()
{
    Settings s;
    const std::pair<const char *, double *> numbers[] = {
        {"SIM_GFLOPS", &s.gflops},         {"SIM_GBPS", &s.gbps},
        {"SIM_KERNEL_US", &s.kernel_us},   {"SIM_LATENCY_US", &s.latency_us},
        {"SIM_LAUNCH_US", &s.launch_us},   {"SIM_COPY_US", &s.copy_us},
        {"SIM_PINNED_GBPS", &s.pinned_gbps}, {"SIM_PAGEABLE_GBPS", &s.pageable_gbps},
        {"SIM_ALLOCATION_US", &s.allocation_us}, {"SIM_QUEUE", &s.queue},
        {"SIM_MEMORY_MB", &s.memory_mb},   {"SIM_SPIN", &s.spin},
        {"SIM_SYNC_EVENTS", &s.sync_events},
    };
    for (auto &[name, value] : numbers)
        read_number(name, *value);
    const std::pair<const char *, std::string *> texts[] = {
        {"SIM_SCRIPT", &s.script}, {"SIM_LEDGER", &s.ledger}, {"SIM_COUNTERS", &s.counters}};
    for (auto &[name, value] : texts)
        if (const char *text = std::getenv(name))
            *value = text;
    std::ifstream lines(s.script);
    std::string part;
    double us;
    while (lines >> part >> us)
        s.durations_us.emplace_back(part, us);
    return s;
}

void pass_until(Ns when)
{
    if (settings().spin != 0) {
        while (now() < when)
            ;
        return;
    }
    /* Else each wait would be 50 us too long. */
    static thread_local int exact = prctl(PR_SET_TIMERSLACK, 1UL);
    (void)exact;
    /* Wait in `poll` and not in a function that sleeps, as CUDA's driver does with
     * cudaDeviceScheduleBlockingSync. */
    for (Ns left = when - now(); left > 0; left = when - now()) {
        timespec time{left / 1000000000, left % 1000000000};
        ppoll(nullptr, 0, &time, nullptr);
    }
}

void wait(Ns until, WaitFor what)
{
    Ns start = now();
    pass_until(until);
    std::lock_guard lock(mutex);
    ledger.waited(what, start, std::min(until, now()));
}

/* The caller of these two functions holds the mutex. */
void keep(Record record)
{
    record.op = open_operators.empty() ? 0 : open_operators.back();
    record.range = open_ranges.empty() ? 0 : open_ranges.back();
    records.push_back(std::move(record));
}

void keep_call(const char *name, Ns start, Ns end, int stream, int correlation)
{
    if (!recording)
        return;
    Record record{Kind::Call, name, start, end, stream, correlation};
    record.thread = static_cast<int>(syscall(SYS_gettid));
    keep(std::move(record));
}

/* Start work on a stream, and return when it ends. The caller holds the mutex. */
Ns place(int stream, const Work &work, Ns launched, int correlation, int node)
{
    Stream &at = streams.at(stream);
    Ns start = std::max(launched + microseconds(settings().latency_us), at.end);
    if (work.engine != Engine::Compute) {
        Ns &engine = copy_engines[work.engine == Engine::CopyOut];
        start = std::max(start, engine);
        engine = start + work.duration;
    }
    at.end = start + work.duration;
    at.outstanding.push_back(at.end);
    ledger.ran(work.kind, start, at.end);
    if (recording) {
        Record record{work.kind, work.name, start, at.end, stream, correlation};
        record.bytes = work.bytes;
        record.graph_node = node;
        keep(std::move(record));
    }
    return at.end;
}

Ns end_of_stream(int stream)
{
    std::lock_guard lock(mutex);
    return streams.at(stream).end;
}

/* Spend the host time of a driver call; return when it began. */
Ns spend(double us)
{
    Ns start = now();
    while (now() < start + microseconds(us))
        ;
    return start;
}

void record_wait(const char *call, const char *kind, Ns start, int stream)
{
    int correlation = record_call(call, start, now(), stream);
    if (!recording)
        return;
    std::lock_guard lock(mutex);
    keep({Kind::Wait, kind, start, now(), stream, correlation});
}

} // namespace

const Settings &settings()
{
    static const Settings value = read_settings();
    return value;
}

Ns now()
{
    timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000 + at.tv_nsec;
}

Ns microseconds(double us) { return static_cast<Ns>(us * 1e3); }

/* -- work -- */

void wait_for_room(int stream)
{
    for (;;) {
        Ns until;
        {
            std::lock_guard lock(mutex);
            auto &outstanding = streams.at(stream).outstanding;
            while (!outstanding.empty() && outstanding.front() <= now())
                outstanding.pop_front();
            if (static_cast<double>(outstanding.size()) < settings().queue)
                return;
            until = outstanding.front();
        }
        wait(until, WaitFor::Room);
    }
}

static std::pair<int, Ns> submit_all(int stream, const Work *work, size_t count, const char *call)
{
    Ns launched = now(), end = launched;
    int correlation;
    {
        std::lock_guard lock(mutex);
        correlation = ++last_correlation;
        ledger.launched();
        for (size_t i = 0; i < count; i++)
            end = place(stream, work[i], launched, correlation, count > 1 ? static_cast<int>(i) : -1);
    }
    while (now() < launched + microseconds(settings().launch_us))
        ;
    std::lock_guard lock(mutex);
    keep_call(call, launched, now(), stream, correlation);
    return {correlation, end};
}

int submit(int stream, const Work &work) { return submit_all(stream, &work, 1, work.call).first; }

void submit_graph(int stream, const std::vector<Work> &nodes)
{
    wait_for_room(stream);
    submit_all(stream, nodes.data(), nodes.size(), "cudaGraphLaunch");
}

void submit_and_wait(int stream, const Work &work)
{
    Ns launched = now(), end;
    int correlation;
    {
        std::lock_guard lock(mutex);
        correlation = ++last_correlation;
        ledger.launched();
        end = place(stream, work, launched, correlation, -1);
    }
    wait(end, WaitFor::Copy);
    std::lock_guard lock(mutex);
    keep_call(work.call, launched, now(), stream, correlation);
}

void record_event(Event &event, int stream)
{
    Ns start = now();
    event.correlation = record_call("cudaEventRecord", start, start + 1000, stream);
    event.stream = stream;
    event.when = std::max(start, end_of_stream(stream));
}

void let_stream_wait(int stream, const Event &event)
{
    Ns start = now();
    int correlation = record_call("cudaStreamWaitEvent", start, start + 1000, stream);
    std::lock_guard lock(mutex);
    Ns &end = streams.at(stream).end;
    end = std::max(end, event.when);
    if (!recording)
        return;
    Record record{Kind::Wait, "Stream Wait Event", start, start + 1000, stream, correlation};
    record.awaited_stream = event.stream;
    record.awaited_correlation = event.correlation;
    keep(std::move(record));
}

void synchronize_event(const Event &event)
{
    Ns start = now();
    wait(event.when, WaitFor::Device);
    record_wait("cudaEventSynchronize", "Event Sync", start, event.stream);
}

void synchronize_stream(int stream, bool is_copy)
{
    Ns start = now();
    wait(end_of_stream(stream), is_copy ? WaitFor::Copy : WaitFor::Device);
    record_wait("cudaStreamSynchronize", "Stream Sync", start, stream);
}

void synchronize_device()
{
    Ns start = now(), end = 0;
    {
        std::lock_guard lock(mutex);
        for (const Stream &stream : streams)
            end = std::max(end, stream.end);
    }
    wait(end, WaitFor::Device);
    record_wait("cudaDeviceSynchronize", "Context Sync", start, 0);
}

bool has_finished(int stream) { return end_of_stream(stream) <= now(); }

int next_stream_of_pool()
{
    static std::atomic<int> turn{0};
    return 1 + turn++ % POOL;
}

/* -- what a trace contains -- */

void start_recording()
{
    std::lock_guard lock(mutex);
    records.clear();
    recording = true;
}

std::vector<Record> stop_recording()
{
    std::lock_guard lock(mutex);
    recording = false;
    return std::move(records);
}

int record_call(const char *name, Ns start, Ns end, int stream)
{
    std::lock_guard lock(mutex);
    keep_call(name, start, end, stream, ++last_correlation);
    return last_correlation;
}

void open_operator(uint64_t id, bool is_range)
{
    (is_range ? open_ranges : open_operators).push_back(id);
}

void close_operator(bool is_range)
{
    auto &ids = is_range ? open_ranges : open_operators;
    if (!ids.empty())
        ids.pop_back();
}

/* -- memory -- */

int64_t memory_limit() { return static_cast<int64_t>(settings().memory_mb * (1 << 20)); }

MemoryUse &memory_use() { return memory; }

static std::pair<void *, int64_t> use(void *block, int64_t size)
{
    blocks[block] = size;
    memory.allocated += size;
    memory.peak = std::max(memory.peak, memory.allocated);
    memory.allocations++;
    return {block, size};
}

/* Return a cached block that is at most a quarter too large. */
static std::pair<void *, int64_t> take_cached(int64_t size)
{
    std::lock_guard lock(mutex);
    auto found = cached.lower_bound(size);
    if (found == cached.end() || found->first > size + size / 4)
        return {nullptr, 0};
    auto [found_size, block] = *found;
    cached.erase(found);
    return use(block, found_size);
}

static std::pair<void *, int64_t> allocate_block(int64_t size)
{
    {
        std::lock_guard lock(mutex);
        if (memory.reserved + size > memory_limit())
            return {nullptr, 0};
    }
    Ns start = spend(settings().allocation_us);
    record_call("cudaMalloc", start, now());
    std::lock_guard lock(mutex);
    void *block = nullptr;
    if (posix_memalign(&block, 64, static_cast<size_t>(size)) != 0)
        return {nullptr, 0};
    memory.reserved += size;
    memory.peak_reserved = std::max(memory.peak_reserved, memory.reserved);
    memory.segments++;
    ledger.show_memory(memory.reserved);
    return use(block, size);
}

std::pair<void *, int64_t> take_block(int64_t bytes)
{
    int64_t size = std::max<int64_t>(1, (bytes + ROUNDED - 1) / ROUNDED) * ROUNDED;
    auto found = take_cached(size);
    if (found.first == nullptr)
        found = allocate_block(size);
    if (found.first == nullptr) {
        memory.retries++;
        release_cached_blocks();
        found = allocate_block(size);
    }
    if (found.first == nullptr)
        memory.failures++;
    return found;
}

int64_t give_block(void *block)
{
    std::lock_guard lock(mutex);
    auto found = blocks.find(block);
    if (found == blocks.end())
        return 0;
    int64_t size = found->second;
    memory.allocated -= size;
    memory.frees++;
    cached.emplace(size, block);
    blocks.erase(found);
    return size;
}

/* As with CUDA, freeing memory waits for the device. */
void release_cached_blocks()
{
    std::multimap<int64_t, void *> unused;
    {
        std::lock_guard lock(mutex);
        unused.swap(cached);
    }
    for (auto &[size, block] : unused) {
        Ns start = now(), end = 0;
        {
            std::lock_guard lock(mutex);
            for (const Stream &stream : streams)
                end = std::max(end, stream.end);
        }
        wait(end, WaitFor::Device);
        spend(settings().allocation_us);
        record_call("cudaFree", start, now());
        std::lock_guard lock(mutex);
        std::free(block);
        memory.reserved -= size;
        ledger.show_memory(memory.reserved);
    }
}

void end_step()
{
    std::lock_guard lock(mutex);
    ledger.end_step(now());
}

} // namespace sim
