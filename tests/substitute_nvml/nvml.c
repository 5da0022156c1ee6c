/* A substitute for libnvidia-ml.so.1. A scenario defines its answers (README.md), call_times.h the
 * duration of calls. */
#define _GNU_SOURCE
#include "call_times.h"
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int initialized;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void take(double us, enum How how)
{
    us /= scenario.speed;
    if (how == BLOCK) {
        struct timespec nap = {(time_t)(us / 1e6), (long)(us * 1e3) % 1000000000L};
        nanosleep(&nap, NULL);
        return;
    }
    double end = seconds() + us * 1e-6;
    while (seconds() < end)
        ;
}

static void spend(const char *call)
{
    for (size_t i = 0; i < sizeof CALL_TIMES / sizeof CALL_TIMES[0]; i++)
        if (strcmp(CALL_TIMES[i].call, call) == 0) {
            take(CALL_TIMES[i].us, CALL_TIMES[i].how);
            return;
        }
    take(OTHER_CALL_US, SPIN);
}

/* While the driver is unloaded every call fails, and it must be initialized again. */
static int driver_state(void)
{
    double now = now_s();
    if (now >= scenario.gone_from_s && now < scenario.gone_to_s)
        initialized = 0;
    return initialized ? OK : UNINITIALIZED;
}

int ready(const char *call, const Device *device)
{
    spend(call);
    int state = driver_state();
    if (state != OK || device == NULL)
        return state;
    const Device *whole = device->parent >= 0 ? &scenario.devices[device->parent] : device;
    double now = now_s();
    return now >= whole->lost_from_s && now < whole->lost_to_s ? LOST : OK;
}

int number(const Device *device, const char *key, double *value)
{
    const Series *series = series_of(device, key);
    if (series == NULL)
        return NOT_SUPPORTED;
    if (series->error)
        return series->error;
    if (live_number(device, key, value))
        return OK;
    *value = value_at(series, now_s());
    return OK;
}

int total(const Device *device, const char *key, double *value)
{
    const Series *series = series_of(device, key);
    if (series == NULL)
        return NOT_SUPPORTED;
    if (series->error)
        return series->error;
    if (live_growth(device, key, -1000.0, now_s(), value))
        return OK;
    *value = grown(series, -1000.0, now_s());
    return OK;
}

/* -- the library -- */

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    static int read;
    if (!read) {
        read_scenario();
        read = 1;
    }
    spend("nvmlInitWithFlags");
    double now = now_s();
    if (now >= scenario.gone_from_s && now < scenario.gone_to_s)
        return 9;
    if (scenario.init_error)
        return scenario.init_error;
    initialized = 1;
    return OK;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void)
{
    initialized = 0;
    return OK;
}

const char *nvmlErrorString(int code)
{
    switch (code) {
    case UNINITIALIZED:
        return "Uninitialized";
    case NOT_SUPPORTED:
        return "Not Supported";
    case NO_PERMISSION:
        return "Insufficient Permissions";
    case 9:
        return "Driver Not Loaded";
    case LOST:
        return "GPU is lost";
    case 18:
        return "Driver/library version mismatch";
    default:
        return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *text, unsigned size)
{
    int state = ready("nvmlSystemGetDriverVersion", NULL);
    if (state == OK)
        snprintf(text, size, "%s", scenario.driver);
    return state;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    *version = scenario.cuda;
    return ready("nvmlSystemGetCudaDriverVersion_v2", NULL);
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = 0;
    for (int i = 0; i < scenario.count; i++)
        *count += scenario.devices[i].parent < 0;
    return ready("nvmlDeviceGetCount_v2", NULL);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle *handle)
{
    int state = ready("nvmlDeviceGetHandleByIndex_v2", NULL);
    unsigned at = 0;
    for (int i = 0; i < scenario.count && state == OK; i++)
        if (scenario.devices[i].parent < 0 && at++ == index) {
            *handle = &scenario.devices[i];
            return ready("", *handle);
        }
    return state == OK ? BAD : state;
}

/* -- what stays as it is -- */

#define TEXT(call, field)                              \
    int call(Handle device, char *text, unsigned size) \
    {                                                  \
        int state = ready(#call, device);              \
        if (state == OK)                               \
            snprintf(text, size, "%s", device->field); \
        return state;                                  \
    }
TEXT(nvmlDeviceGetName, name)
TEXT(nvmlDeviceGetUUID, uuid)

void fill_pci(const char *text, Pci *pci)
{
    memset(pci, 0, sizeof *pci);
    sscanf(text, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    snprintf(pci->text, sizeof pci->text, "%s", text);
    snprintf(pci->legacy, sizeof pci->legacy, "%.15s", text + 4);
}

int nvmlDeviceGetPciInfo_v3(Handle device, Pci *pci)
{
    fill_pci(device->bus, pci);
    return ready("nvmlDeviceGetPciInfo_v3", device);
}

int nvmlDeviceGetMinorNumber(Handle device, unsigned *minor)
{
    *minor = (unsigned)device->number;
    return ready("nvmlDeviceGetMinorNumber", device);
}

#define WHOLE_NUMBER(call, key)                  \
    int call(Handle device, unsigned *value)     \
    {                                            \
        double found = 0;                        \
        int state = ready(#call, device);        \
        if (state == OK)                         \
            state = number(device, key, &found); \
        *value = (unsigned)found;                \
        return state;                            \
    }
WHOLE_NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, "pcie_max_generation")
WHOLE_NUMBER(nvmlDeviceGetGpuMaxPcieLinkGeneration, "pcie_device_generation")
WHOLE_NUMBER(nvmlDeviceGetMaxPcieLinkWidth, "pcie_max_width")
WHOLE_NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_generation")
WHOLE_NUMBER(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width")
WHOLE_NUMBER(nvmlDeviceGetEnforcedPowerLimit, "power_limit_mw")
WHOLE_NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, "power_default_limit_mw")
WHOLE_NUMBER(nvmlDeviceGetPowerUsage, "power_mw")

int nvmlDeviceGetCudaComputeCapability(Handle device, int *major, int *minor)
{
    double value = 0;
    int state = ready("nvmlDeviceGetCudaComputeCapability", device);
    if (state == OK)
        state = number(device, "compute_capability", &value);
    *major = (int)value / 10;
    *minor = (int)value % 10;
    return state;
}

int nvmlDeviceGetMemoryAffinity(Handle device, unsigned size, unsigned long *set, unsigned scope)
{
    double node = 0;
    (void)scope;
    int state = ready("nvmlDeviceGetMemoryAffinity", device);
    if (state == OK)
        state = number(device, "numa_node", &node);
    memset(set, 0, size * sizeof *set);
    if (state == OK)
        set[0] = 1ul << (unsigned)node;
    return state;
}

/* -- clocks, load, memory, power -- */

static const char *CLOCKS[] = {"graphics_clock", "sm_clock", "memory_clock", "video_clock"};

#define CLOCK(call, prefix)                                       \
    int call(Handle device, unsigned kind, unsigned *mhz)         \
    {                                                             \
        char key[NAME];                                           \
        double value = 0;                                         \
        int state = ready(#call, device);                         \
        snprintf(key, sizeof key, prefix "%s", CLOCKS[kind % 4]); \
        if (state == OK)                                          \
            state = number(device, key, &value);                  \
        *mhz = (unsigned)value;                                   \
        return state;                                             \
    }
CLOCK(nvmlDeviceGetClockInfo, "")
CLOCK(nvmlDeviceGetMaxClockInfo, "max_")
CLOCK(nvmlDeviceGetDefaultApplicationsClock, "base_")

int nvmlDeviceGetTemperature(Handle device, unsigned sensor, unsigned *celsius)
{
    double value = 0;
    (void)sensor;
    int state = ready("nvmlDeviceGetTemperature", device);
    if (state == OK)
        state = number(device, "temperature", &value);
    *celsius = (unsigned)value;
    return state;
}

int nvmlDeviceGetUtilizationRates(Handle device, unsigned *rates)
{
    double gpu = 0, memory = 0;
    int state = ready("nvmlDeviceGetUtilizationRates", device);
    if (state == OK)
        state = number(device, "utilization", &gpu);
    if (state == OK)
        number(device, "memory_utilization", &memory);
    rates[0] = (unsigned)gpu;
    rates[1] = (unsigned)memory;
    return state;
}

int nvmlDeviceGetMemoryInfo(Handle device, unsigned long long *memory)
{
    double whole = 0, used = 0;
    int state = ready("nvmlDeviceGetMemoryInfo", device);
    if (state == OK)
        state = number(device, "memory", &whole);
    if (state == OK)
        state = number(device, "memory_used", &used);
    memory[0] = (unsigned long long)whole;
    memory[1] = (unsigned long long)(whole - used);
    memory[2] = (unsigned long long)used;
    return state;
}

int clock_events(const char *call, Handle device, unsigned long long *mask)
{
    double value = 0;
    int state = ready(call, device);
    if (state == OK)
        state = number(device, "clock_events", &value);
    *mask = (unsigned long long)value;
    return state;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(Handle device, unsigned long long *mask)
{
    return clock_events("nvmlDeviceGetCurrentClocksThrottleReasons", device, mask);
}

int nvmlDeviceGetTotalEnergyConsumption(Handle device, unsigned long long *mj)
{
    double joules = 0;
    int state = ready("nvmlDeviceGetTotalEnergyConsumption", device);
    if (state == OK)
        state = total(device, "energy_w", &joules);
    *mj = (unsigned long long)(joules * 1e3);
    return state;
}

int nvmlDeviceGetTotalEccErrors(Handle device, unsigned kind, unsigned counter,
                                unsigned long long *count)
{
    double value = 0;
    (void)counter;
    int state = ready("nvmlDeviceGetTotalEccErrors", device);
    if (state == OK)
        state = total(device, kind ? "ecc_uncorrected_per_s" : "ecc_corrected_per_s", &value);
    *count = (unsigned long long)value;
    return state;
}

int nvmlDeviceGetPcieThroughput(Handle device, unsigned counter, unsigned *kb_per_s)
{
    double value = 0;
    int state = ready("nvmlDeviceGetPcieThroughput", device);
    if (state == OK)
        state = number(device, counter ? "pcie_rx" : "pcie_tx", &value);
    *kb_per_s = (unsigned)(value / 1e3);
    return state;
}
