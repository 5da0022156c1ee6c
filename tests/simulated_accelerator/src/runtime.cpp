/* What torch asks of any device: guard, streams, events, memory, hooks. */
#include "runtime.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstring>
#include <map>
#include <mutex>

namespace sim {
namespace {

thread_local int stream_now = 0;
const c10::Device THE_DEVICE(DEVICE, 0);

/* -- memory of the device -- */

void report(void *block, int64_t bytes)
{
    const MemoryUse &use = memory_use();
    c10::reportMemoryUsageToProfiler(block, bytes, use.allocated, use.reserved, THE_DEVICE);
}

/* Return whether it was a block of the device. */
bool free_if_block(void *address)
{
    int64_t size = give_block(address);
    if (size)
        report(address, -size);
    return size != 0;
}

void free_block(void *address) { free_if_block(address); }

[[noreturn]] void raise_out_of_memory(size_t bytes)
{
    using c10::CachingAllocator::format_size;
    const MemoryUse &use = memory_use();
    c10::reportOutOfMemoryToProfiler(static_cast<int64_t>(bytes), use.allocated, use.reserved,
                                     THE_DEVICE);
    C10_THROW_ERROR(OutOfMemoryError,
                    c10::str("SIM out of memory. Tried to allocate ", format_size(bytes),
                             ". The device has a total capacity of ", format_size(memory_limit()),
                             " of which ", format_size(memory_limit() - use.reserved), " is free."));
}

c10::DataPtr allocate_on_device(size_t bytes, c10::Device device)
{
    if (bytes == 0)
        return {nullptr, device};
    auto [address, size] = take_block(static_cast<int64_t>(bytes));
    if (address == nullptr)
        raise_out_of_memory(bytes);
    report(address, size);
    return {address, address, &free_block, device};
}

struct DeviceMemory final : c10::DeviceAllocator {
    c10::DataPtr allocate(size_t bytes) override { return allocate_on_device(bytes, THE_DEVICE); }
    void copy_data(void *to, const void *from, size_t bytes) const override
    {
        default_copy_data(to, from, bytes);
    }
    bool initialized() override { return true; }
    void emptyCache(c10::MempoolId_t) override { release_cached_blocks(); }
    void recordStream(const c10::DataPtr &, c10::Stream) override {} /* values exist at once */
    c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override
    {
        c10::CachingDeviceAllocator::DeviceStats stats;
        const MemoryUse &use = memory_use();
        auto set = [](c10::CachingAllocator::StatArray &array, int64_t current, int64_t peak) {
            array[0].current = current;
            array[0].peak = peak;
        };
        set(stats.allocated_bytes, use.allocated, use.peak);
        set(stats.active_bytes, use.allocated, use.peak);
        set(stats.requested_bytes, use.allocated, use.peak);
        set(stats.reserved_bytes, use.reserved, use.peak_reserved);
        set(stats.allocation, use.allocations - use.frees, use.allocations);
        set(stats.segment, use.segments, use.segments);
        stats.num_alloc_retries = use.retries;
        stats.num_ooms = use.failures;
        stats.num_device_alloc = use.segments;
        return stats;
    }
    void resetAccumulatedStats(c10::DeviceIndex) override {}
    void resetPeakStats(c10::DeviceIndex) override
    {
        memory_use().peak = memory_use().allocated;
        memory_use().peak_reserved = memory_use().reserved;
    }
    std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex) override
    {
        return {memory_limit() - memory_use().reserved, memory_limit()};
    }
};

/* -- memory of the host -- */

thread_local bool on_device = false;

c10::Allocator *const plain = c10::GetAllocator(c10::DeviceType::CPU);

void free_host_memory(void *address)
{
    if (!free_if_block(address))
        plain->raw_deleter()(address);
}

struct HostMemory final : c10::Allocator {
    c10::DataPtr allocate(size_t bytes) override
    {
        return on_device ? allocate_on_device(bytes, c10::DeviceType::CPU) : plain->allocate(bytes);
    }
    void copy_data(void *to, const void *from, size_t bytes) const override
    {
        plain->copy_data(to, from, bytes);
    }
    /* oneDNN allocates with it, inside operators as well. */
    c10::DeleterFnPtr raw_deleter() const override { return &free_host_memory; }
};

std::mutex &pins_mutex = *new std::mutex;
auto &pins = *new std::map<const char *, size_t>; /* address -> bytes of pinned memory */

void free_pinned(void *address)
{
    std::lock_guard lock(pins_mutex);
    pins.erase(static_cast<const char *>(address));
    std::free(address);
}

struct PinnedMemory final : at::HostAllocator {
    c10::DataPtr allocate(size_t bytes) override
    {
        void *address = nullptr;
        if (bytes == 0)
            return {nullptr, c10::DeviceType::CPU};
        TORCH_CHECK(posix_memalign(&address, 4096, bytes) == 0, "no memory to pin");
        std::lock_guard lock(pins_mutex);
        pins[static_cast<const char *>(address)] = bytes;
        return {address, address, &free_pinned, c10::DeviceType::CPU};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &free_pinned; }
    void copy_data(void *to, const void *from, size_t bytes) const override
    {
        default_copy_data(to, from, bytes);
    }
    bool record_event(void *, void *, c10::Stream) override { return true; }
    void empty_cache() override {}
    at::HostStats get_stats() override { return {}; }
    void reset_accumulated_stats() override {}
    void reset_peak_stats() override {}
};

DeviceMemory &device_memory = *new DeviceMemory;
PinnedMemory &pinned_memory = *new PinnedMemory;

/* -- streams and events -- */

struct Guard final : c10::impl::DeviceGuardImplInterface {
    static constexpr c10::DeviceType static_type = DEVICE;
    static c10::Stream stream(int id) { return c10::Stream(c10::Stream::UNSAFE, THE_DEVICE, id); }
    static int number(const c10::Stream &stream) { return static_cast<int>(stream.id()); }
    static Event *event_of(void *event) { return static_cast<Event *>(event); }

    c10::DeviceType type() const override { return DEVICE; }
    c10::Device exchangeDevice(c10::Device) const override { return THE_DEVICE; }
    c10::Device getDevice() const override { return THE_DEVICE; }
    void setDevice(c10::Device) const override {}
    void uncheckedSetDevice(c10::Device) const noexcept override {}
    c10::DeviceIndex deviceCount() const noexcept override { return 1; }
    c10::DeviceCapability getDeviceCapability(c10::Device) const override { return {}; }

    c10::Stream getStream(c10::Device) const override { return stream(stream_now); }
    c10::Stream getDefaultStream(c10::Device) const override { return stream(0); }
    c10::Stream getNewStream(c10::Device, int) const override
    {
        return stream(next_stream_of_pool());
    }
    c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override
    {
        return stream(next_stream_of_pool());
    }
    c10::Stream exchangeStream(c10::Stream next) const override
    {
        c10::Stream before = stream(stream_now);
        stream_now = number(next);
        return before;
    }
    void *getStreamNativeHandle(const c10::Stream stream) const override
    {
        return reinterpret_cast<void *>(stream.id());
    }
    bool queryStream(const c10::Stream &stream) const override
    {
        forbid_while_capturing("a query of a stream");
        return has_finished(number(stream));
    }
    void synchronizeStream(const c10::Stream &stream) const override
    {
        forbid_while_capturing("synchronizing a stream");
        synchronize_stream(number(stream));
    }
    void synchronizeDevice(const c10::DeviceIndex) const override
    {
        forbid_while_capturing("synchronizing the device");
        synchronize_device();
    }
    bool isStreamCapturing(const c10::Stream &stream) const override
    {
        return is_capturing() && number(stream) == stream_now;
    }

    void record(void **event, const c10::Stream &stream, const c10::DeviceIndex,
                const c10::EventFlag) const override
    {
        if (*event == nullptr)
            *event = new Event;
        record_event(*event_of(*event), number(stream));
    }
    void block(void *event, const c10::Stream &stream) const override
    {
        if (event != nullptr)
            let_stream_wait(number(stream), *event_of(event));
    }
    bool queryEvent(void *event) const override
    {
        forbid_while_capturing("a query of an event");
        return event == nullptr || event_of(event)->when <= now();
    }
    void synchronizeEvent(void *event) const override
    {
        forbid_while_capturing("synchronizing an event");
        if (event != nullptr)
            synchronize_event(*event_of(event));
    }
    double elapsedTime(void *from, void *to, const c10::DeviceIndex) const override
    {
        TORCH_CHECK(from && to, "both events must be recorded before elapsed_time");
        TORCH_CHECK(event_of(to)->when <= now(), "the events have not ended: device not ready");
        return static_cast<double>(event_of(to)->when - event_of(from)->when) / 1e6;
    }
    void destroyEvent(void *event, const c10::DeviceIndex) const noexcept override
    {
        delete event_of(event);
    }
};

/* -- hooks -- */

/* Only its device is looked at: values are those of the CPU's generator. */
struct Generator final : at::CPUGeneratorImpl {
    Generator()
    {
        device_ = THE_DEVICE;
        key_set_ = c10::DispatchKeySet(c10::DispatchKey::PrivateUse1);
    }
};

struct Hooks final : at::PrivateUse1HooksInterface {
    bool isBuilt() const override { return true; }
    bool isAvailable() const override { return true; }
    bool hasPrimaryContext(c10::DeviceIndex) const override { return memory_use().allocations > 0; }
    void init() const override {}
    c10::DeviceIndex deviceCount() const override { return 1; }
    void setCurrentDevice(c10::DeviceIndex) const override {}
    c10::DeviceIndex getCurrentDevice() const override { return 0; }
    c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
    c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
    bool isPinnedPtr(const void *address) const override { return is_pinned(address); }
    at::Allocator *getPinnedMemoryAllocator() const override { return &pinned_memory; }
    at::Device getDeviceFromPtr(void *) const override { return THE_DEVICE; }
    at::Generator getNewGenerator(c10::DeviceIndex) const override
    {
        return at::make_generator<Generator>();
    }
    const at::Generator &getDefaultGenerator(c10::DeviceIndex) const override
    {
        static at::Generator generator = at::make_generator<Generator>();
        return generator;
    }
    void resizePrivateUse1Bytes(const c10::Storage &storage, size_t bytes) const override
    {
        c10::DataPtr grown = device_memory.allocate(bytes);
        std::memcpy(grown.get(), storage.data(), std::min(bytes, storage.nbytes()));
        storage.set_data_ptr_noswap(std::move(grown));
        storage.set_nbytes(bytes);
    }
};

REGISTER_ALLOCATOR(DEVICE, &device_memory)
REGISTER_HOST_ALLOCATOR(DEVICE, &pinned_memory)
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)
const bool registered = [] {
    at::RegisterPrivateUse1HooksInterface(new Hooks);
    c10::SetAllocator(c10::DeviceType::CPU, new HostMemory, 255);
    return true;
}();

} // namespace

int current_stream() { return stream_now; }
c10::Allocator *device_allocator() { return &device_memory; }

bool is_pinned(const void *address)
{
    std::lock_guard lock(pins_mutex);
    auto next = pins.upper_bound(static_cast<const char *>(address));
    if (next == pins.begin())
        return false;
    --next;
    return static_cast<const char *>(address) < next->first + next->second;
}

AllocateOnDevice::AllocateOnDevice() : before_(on_device) { on_device = true; }
AllocateOnDevice::~AllocateOnDevice() { on_device = before_; }

c10::DataPtr share_with_device(const c10::Storage &host)
{
    auto *kept = new c10::Storage(host);
    auto drop = [](void *storage) { delete static_cast<c10::Storage *>(storage); };
    return {const_cast<void *>(host.data()), kept, drop, THE_DEVICE};
}

} // namespace sim
