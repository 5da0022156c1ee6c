/* The plug-in for Kineto: kernels, copies and calls in the form in which CUPTI's are written. */
#include <c10/util/ApproximateClock.h>
#include <libkineto.h>
#include <output_base.h>
#include <unistd.h>

#include <map>
#include <set>

#include "runtime.h"

namespace sim {
namespace {

using libkineto::ActivityType;
using Activity = libkineto::GenericTraceActivity;

constexpr int DEFAULT_STREAM = 7; /* as CUDA's */
constexpr int THREADS = 128, BYTES_PER_THREAD = 4, MULTIPROCESSORS = 4;

int shown(int stream) { return DEFAULT_STREAM + stream; }

/* CUPTI's number of a call. */
int callback_id(const std::string &name)
{
    static const std::map<std::string, int> ids = {
        {"cudaLaunchKernel", 211},         {"cudaMemcpyAsync", 41},
        {"cudaMemsetAsync", 51},           {"cudaStreamSynchronize", 131},
        {"cudaDeviceSynchronize", 165},    {"cudaEventSynchronize", 137},
        {"cudaEventRecord", 135},          {"cudaStreamWaitEvent", 147},
        {"cudaGraphLaunch", 311},          {"cudaMalloc", 20},
        {"cudaFree", 22},
    };
    auto known = ids.find(name);
    return known == ids.end() ? 0 : known->second;
}

ActivityType type_of(Kind kind)
{
    switch (kind) {
    case Kind::Kernel:
        return ActivityType::CONCURRENT_KERNEL;
    case Kind::Copy:
        return ActivityType::GPU_MEMCPY;
    case Kind::Fill:
        return ActivityType::GPU_MEMSET;
    case Kind::Call:
        return ActivityType::CUDA_RUNTIME;
    default:
        return ActivityType::CUDA_SYNC;
    }
}

void describe_kernel(Activity &activity, const Record &record)
{
    int64_t blocks = std::max<int64_t>(1, record.bytes / BYTES_PER_THREAD / THREADS);
    double per_multiprocessor = static_cast<double>(blocks) / MULTIPROCESSORS;
    activity.addMetadata("queued", 0);
    activity.addMetadata("registers per thread", 32);
    activity.addMetadata("shared memory", 0);
    activity.addMetadata("blocks per SM", per_multiprocessor);
    activity.addMetadata("warps per SM", per_multiprocessor * THREADS / 32);
    activity.addMetadata("grid", fmt::format("[{}, 1, 1]", blocks));
    activity.addMetadata("block", fmt::format("[{}, 1, 1]", THREADS));
    int occupancy = static_cast<int>(std::min(100.0, per_multiprocessor * THREADS / 2048 * 100));
    activity.addMetadata("est. achieved occupancy %", occupancy);
    if (record.graph_node >= 0) {
        activity.addMetadata("graph id", 1);
        activity.addMetadata("graph node id", record.graph_node);
    }
}

void describe(Activity &activity, const Record &record)
{
    activity.addMetadata("device", 0);
    activity.addMetadata("context", 1);
    activity.addMetadata("stream", shown(record.stream));
    activity.addMetadata("correlation", record.correlation);
    if (record.kind == Kind::Kernel) {
        describe_kernel(activity, record);
    } else if (record.kind == Kind::Wait) {
        activity.addMetadataQuoted("cuda_sync_kind", record.name);
        if (record.awaited_stream >= 0) {
            activity.addMetadata("wait_on_stream", shown(record.awaited_stream));
            activity.addMetadata("wait_on_cuda_event_record_corr_id", record.awaited_correlation);
        }
    } else {
        double ns = static_cast<double>(std::max<Ns>(1, record.end - record.start));
        activity.addMetadata("bytes", record.bytes);
        activity.addMetadata("memory bandwidth (GB/s)", static_cast<double>(record.bytes) / ns);
    }
}

bool launches(const std::string &call)
{
    return call.find("Launch") != std::string::npos || call == "cudaMemcpyAsync" ||
           call == "cudaMemsetAsync";
}

class Session final : public libkineto::IActivityProfilerSession {
  public:
    explicit Session(const std::set<ActivityType> &types)
        : types_(types), buffer_(new libkineto::CpuTraceBuffer)
    {
        buffer_->span = libkineto::TraceSpan(0, 0, "sim");
        buffer_->gpuOpCount = 0;
        if (settings().sync_events != 0) /* torch cannot ask this device for them */
            types_.insert(ActivityType::CUDA_SYNC);
    }
    void start() override
    {
        to_wall_clock_ = c10::getTime() - now();
        buffer_->span.startTime = c10::getTime();
        start_recording();
        status_ = libkineto::TraceStatus::RECORDING;
    }
    void stop() override
    {
        stopped_ = now();
        records_ = stop_recording();
        buffer_->span.endTime = c10::getTime();
        status_ = libkineto::TraceStatus::PROCESSING;
    }
    std::vector<std::string> errors() override { return {}; }
    void processTrace(libkineto::ActivityLogger &logger) override
    {
        processTrace(logger, [](int32_t) { return nullptr; }, 0, INT64_MAX);
    }
    void processTrace(libkineto::ActivityLogger &logger,
                      libkineto::getLinkedActivityCallback linked, int64_t, int64_t) override
    {
        for (const Record &record : records_) {
            bool is_call = record.kind == Kind::Call;
            /* As CUPTI, it does not know what has not ended. */
            if (!types_.count(type_of(record.kind)) || (!is_call && record.end > stopped_))
                continue;
            Activity &activity = add(type_of(record.kind), record.name, record);
            activity.linked = record.op ? linked(static_cast<int32_t>(record.op)) : nullptr;
            if (is_call)
                describe_call(activity, record);
            else
                describe(activity, record);
            activity.flow.id = static_cast<uint32_t>(record.correlation);
            activity.flow.type = libkineto::kLinkAsyncCpuGpu;
            activity.flow.start = is_call && launches(record.name);
            logger.handleActivity(activity);
            if (!is_call && record.kind != Kind::Wait && record.range)
                annotate(record, linked(static_cast<int32_t>(record.range)));
            if (!is_call)
                streams_.insert(record.stream);
        }
        for (auto &[key, annotation] : annotations_)
            logger.handleActivity(*annotation);
        for (int stream : streams_) {
            std::string name = fmt::format("stream {} ", shown(stream));
            logger.handleResourceInfo({shown(stream), shown(stream), 0, name},
                                      buffer_->span.startTime);
        }
    }
    std::unique_ptr<libkineto::DeviceInfo> getDeviceInfo() override
    {
        if (!types_.count(ActivityType::CONCURRENT_KERNEL))
            return nullptr;
        return std::unique_ptr<libkineto::DeviceInfo>(
            new libkineto::DeviceInfo{0, libkineto::kExceedMaxPid, "python", "GPU 0"});
    }
    std::vector<libkineto::ResourceInfo> getResourceInfos() override { return {}; }
    /* It keeps the activities: the logger has their addresses. */
    std::unique_ptr<libkineto::CpuTraceBuffer> getTraceBuffer() override
    {
        return std::move(buffer_);
    }
    void pushCorrelationId(uint64_t id) override { open_operator(id, false); }
    void popCorrelationId() override { close_operator(false); }
    void pushUserCorrelationId(uint64_t id) override { open_operator(id, true); }
    void popUserCorrelationId() override { close_operator(true); }
    std::string getDeviceProperties() override
    {
        return fmt::format(
            "{{\"id\": 0, \"name\": \"Simulated accelerator\", \"totalGlobalMem\": {}, "
            "\"computeMajor\": 8, \"computeMinor\": 0, \"maxThreadsPerBlock\": 1024, "
            "\"maxThreadsPerMultiprocessor\": 2048, \"regsPerBlock\": 65536, "
            "\"regsPerMultiprocessor\": 65536, \"warpSize\": 32, \"sharedMemPerBlock\": 49152, "
            "\"sharedMemPerMultiprocessor\": 167936, \"numSms\": {}, "
            "\"sharedMemPerBlockOptin\": 166912}}",
            memory_limit(), MULTIPROCESSORS);
    }

  private:
    Activity &add(ActivityType type, const std::string &name, const Record &record)
    {
        buffer_->emplace_activity(buffer_->span, type, name);
        Activity &activity = *buffer_->activities.back();
        activity.startTime = record.start + to_wall_clock_;
        activity.endTime = record.end + to_wall_clock_;
        activity.device = 0;
        activity.resource = shown(record.stream);
        activity.id = record.correlation;
        return activity;
    }
    void describe_call(Activity &activity, const Record &record)
    {
        activity.device = getpid();
        activity.resource = activity.threadId = record.thread;
        activity.addMetadata("cbid", callback_id(record.name));
        activity.addMetadata("correlation", record.correlation);
    }
    /* The time on the device of what a range of the program launched. */
    void annotate(const Record &record, const libkineto::ITraceActivity *range)
    {
        if (range == nullptr || !types_.count(ActivityType::GPU_USER_ANNOTATION))
            return;
        Activity *&activity = annotations_[{record.stream, record.range}];
        if (activity == nullptr) {
            activity = &add(ActivityType::GPU_USER_ANNOTATION, range->name(), record);
            activity->linked = range;
            activity->id = static_cast<int32_t>(record.range);
        }
        activity->startTime = std::min(activity->startTime, record.start + to_wall_clock_);
        activity->endTime = std::max(activity->endTime, record.end + to_wall_clock_);
    }

    std::set<ActivityType> types_;
    std::unique_ptr<libkineto::CpuTraceBuffer> buffer_;
    std::vector<Record> records_;
    std::map<std::pair<int, uint64_t>, Activity *> annotations_;
    std::set<int> streams_;
    int64_t to_wall_clock_ = 0;
    Ns stopped_ = 0;
};

class Profiler final : public libkineto::IActivityProfiler {
  public:
    const std::string &name() const override { return name_; }
    const std::set<ActivityType> &availableActivities() const override { return types_; }
    std::unique_ptr<libkineto::IActivityProfilerSession>
    configure(const std::set<ActivityType> &types, const libkineto::Config &) override
    {
        return std::make_unique<Session>(types);
    }
    std::unique_ptr<libkineto::IActivityProfilerSession>
    configure(int64_t, int64_t, const std::set<ActivityType> &types,
              const libkineto::Config &config) override
    {
        return configure(types, config);
    }

  private:
    std::string name_ = "sim";
    std::set<ActivityType> types_ = {ActivityType::CONCURRENT_KERNEL,
                                     ActivityType::GPU_MEMCPY,
                                     ActivityType::GPU_MEMSET,
                                     ActivityType::GPU_USER_ANNOTATION,
                                     ActivityType::CUDA_RUNTIME,
                                     ActivityType::CUDA_SYNC};
};

/* torch would forward a plug-in that is registered with it only to profiles that ask for this
 * device. Registered with Kineto, it also writes calls into a profile of the CPU, as CUPTI does. */
const bool registered = [] {
    libkineto::api().registerProfilerFactory([] { return std::make_unique<Profiler>(); });
    return true;
}();

} // namespace
} // namespace sim
