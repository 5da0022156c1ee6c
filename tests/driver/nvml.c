/* A stand-in for libnvidia-ml.so.1: what it answers is in a scenario (README.md), how long it takes in call_times.h. */
#define _GNU_SOURCE
#include "call_times.h"
#include "scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OK, UNINITIALIZED, BAD, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND = 6, TOO_SMALL, TIMEOUT = 10, LOST = 15 };

typedef Device *Handle;
static int initialised;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void take(double us, enum How how)
{
    us /= scenario.hurry;
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

/* While the driver is away everything fails, and what was initialised before is void. */
static int driver_state(void)
{
    double now = now_s();
    if (now >= scenario.gone_from_s && now < scenario.gone_to_s)
        initialised = 0;
    return initialised ? OK : UNINITIALIZED;
}

static int ready(const char *call, const Device *device)
{
    spend(call);
    int state = driver_state();
    if (state != OK || device == NULL)
        return state;
    const Device *whole = device->parent >= 0 ? &scenario.devices[device->parent] : device;
    double now = now_s();
    return now >= whole->lost_from_s && now < whole->lost_to_s ? LOST : OK;
}

static int number(const Device *device, const char *key, double *value)
{
    const Series *series = series_of(device, key);
    if (series == NULL)
        return NOT_SUPPORTED;
    if (series->error)
        return series->error;
    *value = value_at(series, now_s());
    return OK;
}

static int total(const Device *device, const char *key, double *value)
{
    const Series *series = series_of(device, key);
    if (series == NULL)
        return NOT_SUPPORTED;
    if (series->error)
        return series->error;
    *value = grown(series, -1000.0, now_s());
    return OK;
}

/* -- the library ------------------------------------------------------------------------------------------------- */

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
    initialised = 1;
    return OK;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void)
{
    initialised = 0;
    return OK;
}

const char *nvmlErrorString(int code)
{
    switch (code) {
    case UNINITIALIZED: return "Uninitialized";
    case NOT_SUPPORTED: return "Not Supported";
    case NO_PERMISSION: return "Insufficient Permissions";
    case 9: return "Driver Not Loaded";
    case LOST: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
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

/* -- what stays as it is ------------------------------------------------------------------------------------------ */

#define TEXT(call, field)                                                                                              \
    int call(Handle device, char *text, unsigned size)                                                                 \
    {                                                                                                                  \
        int state = ready(#call, device);                                                                              \
        if (state == OK)                                                                                               \
            snprintf(text, size, "%s", device->field);                                                                 \
        return state;                                                                                                  \
    }
TEXT(nvmlDeviceGetName, name)
TEXT(nvmlDeviceGetUUID, uuid)

typedef struct {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char text[32];
} Pci;

static void fill_pci(const char *text, Pci *pci)
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

#define WHOLE_NUMBER(call, key)                                                                                        \
    int call(Handle device, unsigned *value)                                                                           \
    {                                                                                                                  \
        double found = 0;                                                                                              \
        int state = ready(#call, device);                                                                              \
        if (state == OK)                                                                                               \
            state = number(device, key, &found);                                                                       \
        *value = (unsigned)found;                                                                                      \
        return state;                                                                                                  \
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

/* -- clocks, load, memory, power ---------------------------------------------------------------------------------- */

static const char *CLOCKS[] = {"graphics_clock", "sm_clock", "memory_clock", "video_clock"};

#define CLOCK(call, prefix)                                                                                            \
    int call(Handle device, unsigned kind, unsigned *mhz)                                                              \
    {                                                                                                                  \
        char key[NAME];                                                                                                \
        double value = 0;                                                                                              \
        int state = ready(#call, device);                                                                              \
        snprintf(key, sizeof key, prefix "%s", CLOCKS[kind % 4]);                                                      \
        if (state == OK)                                                                                               \
            state = number(device, key, &value);                                                                       \
        *mhz = (unsigned)value;                                                                                        \
        return state;                                                                                                  \
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

static int reasons(const char *call, Handle device, unsigned long long *mask)
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
    return reasons("nvmlDeviceGetCurrentClocksThrottleReasons", device, mask);
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

int nvmlDeviceGetTotalEccErrors(Handle device, unsigned kind, unsigned counter, unsigned long long *count)
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

/* -- processes ---------------------------------------------------------------------------------------------------- */

typedef struct {
    unsigned pid;
    unsigned long long memory;
    unsigned instance, compute;
} RunningProcess;

static int alive(const Process *one)
{
    double now = now_s();
    return now >= one->from_s && now < one->to_s;
}

static int running(const char *call, Handle device, unsigned *count, RunningProcess *list)
{
    int state = ready(call, device);
    if (state != OK)
        return state;
    const Series *refused = series_of(device, "processes");
    if (refused && refused->error)
        return refused->error;
    unsigned room = *count, found = 0;
    for (int i = 0; i < device->process_count; i++)
        if (alive(&device->processes[i])) {
            if (list && found < room)
                list[found] = (RunningProcess){device->processes[i].pid, (unsigned long long)device->processes[i].memory, ~0u, ~0u};
            found++;
        }
    *count = found;
    return found > (list ? room : 0) ? TOO_SMALL : OK;
}

int nvmlDeviceGetComputeRunningProcesses_v2(Handle device, unsigned *count, RunningProcess *list)
{
    return running("nvmlDeviceGetComputeRunningProcesses_v2", device, count, list);
}

typedef struct {
    unsigned pid;
    unsigned long long stamp_us;
    unsigned sm, memory, encoder, decoder;
} ProcessShare;

int nvmlDeviceGetProcessUtilization(Handle device, ProcessShare *list, unsigned *count, unsigned long long since_us)
{
    int state = ready("nvmlDeviceGetProcessUtilization", device);
    if (state != OK)
        return state;
    const Series *refused = series_of(device, "process_utilization");
    if (refused && refused->error)
        return refused->error;
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    unsigned long long now_us = (unsigned long long)wall.tv_sec * 1000000ull + (unsigned long long)wall.tv_nsec / 1000ull;
    unsigned room = list ? *count : 0, found = 0;
    for (int i = 0; i < device->process_count; i++)
        if (alive(&device->processes[i]) && device->processes[i].sm > 0 && now_us > since_us) {
            if (list && found < room)
                list[found] = (ProcessShare){device->processes[i].pid, now_us, (unsigned)device->processes[i].sm, 0, 0, 0};
            found++;
        }
    *count = found;
    if (found == 0)
        return NOT_FOUND;
    return found > room ? TOO_SMALL : OK;
}

/* -- NVLink ------------------------------------------------------------------------------------------------------- */

static int link_of(const char *call, Handle device, unsigned link)
{
    double links = 0;
    int state = ready(call, device);
    if (state == OK)
        state = number(device, "nvlink_links", &links);
    if (state == OK && link >= (unsigned)links)
        state = BAD;
    return state;
}

int nvmlDeviceGetNvLinkState(Handle device, unsigned link, unsigned *active)
{
    double up = 0;
    int state = link_of("nvmlDeviceGetNvLinkState", device, link);
    if (state == OK)
        state = number(device, "nvlink_active", &up);
    *active = state == OK && link < (unsigned)up;
    return state;
}

int nvmlDeviceGetNvLinkVersion(Handle device, unsigned link, unsigned *version)
{
    double value = 0;
    int state = link_of("nvmlDeviceGetNvLinkVersion", device, link);
    if (state == OK)
        state = number(device, "nvlink_version", &value);
    *version = (unsigned)value;
    return state;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(Handle device, unsigned link, Pci *pci)
{
    int state = link_of("nvmlDeviceGetNvLinkRemotePciInfo_v2", device, link);
    if (state == OK)
        fill_pci(device->links[link].bus[0] ? device->links[link].bus : "00000000:C0:00.0", pci);
    return state;
}

/* -- MIG ---------------------------------------------------------------------------------------------------------- */

int nvmlDeviceGetMigMode(Handle device, unsigned *current, unsigned *pending)
{
    double value = 0;
    int state = ready("nvmlDeviceGetMigMode", device);
    if (state == OK)
        state = number(device, "mig_mode", &value);
    *current = *pending = (unsigned)value;
    return state;
}

int nvmlDeviceGetMaxMigDeviceCount(Handle device, unsigned *count)
{
    (void)device;
    *count = 7;
    return ready("nvmlDeviceGetMaxMigDeviceCount", device);
}

int nvmlDeviceGetMigDeviceHandleByIndex(Handle device, unsigned index, Handle *handle)
{
    int state = ready("nvmlDeviceGetMigDeviceHandleByIndex", device);
    unsigned at = 0;
    for (int i = 0; i < scenario.count && state == OK; i++)
        if (scenario.devices[i].parent == device->number && at++ == index) {
            *handle = &scenario.devices[i];
            return OK;
        }
    return state == OK ? NOT_FOUND : state;
}

int nvmlDeviceGetGpuInstanceId(Handle device, unsigned *instance)
{
    *instance = (unsigned)device->instance;
    int state = ready("nvmlDeviceGetGpuInstanceId", device);
    return state == OK && device->parent < 0 ? NOT_SUPPORTED : state;
}

typedef struct {
    unsigned multiprocessors, unused[7];
    unsigned long long memory_mb;
} Attributes;

int nvmlDeviceGetAttributes_v2(Handle device, Attributes *attributes)
{
    double value = 0;
    memset(attributes, 0, sizeof *attributes);
    int state = ready("nvmlDeviceGetAttributes_v2", device);
    if (state == OK)
        state = device->parent < 0 ? NOT_SUPPORTED : number(device, "multiprocessors", &value);
    attributes->multiprocessors = (unsigned)value;
    return state;
}

/* -- Xid events --------------------------------------------------------------------------------------------------- */

static Device *listening[MOST_DEVICES];

int nvmlEventSetCreate(void **set)
{
    *set = listening;
    return ready("nvmlEventSetCreate", NULL);
}

int nvmlEventSetFree(void *set)
{
    (void)set;
    return OK;
}

int nvmlDeviceRegisterEvents(Handle device, unsigned long long types, void *set)
{
    (void)types;
    ((Device **)set)[device->number] = device;
    return ready("nvmlDeviceRegisterEvents", device);
}

typedef struct {
    Handle device;
    unsigned long long type, data;
    unsigned instance, compute;
} Event;

int nvmlEventSetWait_v2(void *set, Event *event, unsigned timeout_ms)
{
    (void)timeout_ms;
    int state = ready("nvmlEventSetWait_v2", NULL);
    for (int i = 0; i < MOST_DEVICES && state == OK; i++) {
        Device *device = ((Device **)set)[i];
        if (device && !device->xid_told && now_s() >= device->xid_s) {
            device->xid_told = 1;
            *event = (Event){device, 8, (unsigned long long)device->xid, ~0u, ~0u};
            return OK;
        }
    }
    return state == OK ? TIMEOUT : state;
}

/* -- what an old driver does not have ----------------------------------------------------------------------------- */

#ifndef OLD_DRIVER

int nvmlDeviceGetCurrentClocksEventReasons(Handle device, unsigned long long *mask)
{
    return reasons("nvmlDeviceGetCurrentClocksEventReasons", device, mask);
}

int nvmlDeviceGetComputeRunningProcesses_v3(Handle device, unsigned *count, RunningProcess *list)
{
    return running("nvmlDeviceGetComputeRunningProcesses_v3", device, count, list);
}

int nvmlDeviceGetNvLinkRemoteDeviceType(Handle device, unsigned link, unsigned *type)
{
    int state = link_of("nvmlDeviceGetNvLinkRemoteDeviceType", device, link);
    if (state == OK)
        *type = (unsigned)device->links[link].to;
    return state;
}

/* Fields: `totals` of rates, with their unit; `numbers` as they stand. */
typedef struct {
    unsigned field;
    const char *key;
    double unit;
    int is_total, type; /* NVML's value type: 1 unsigned, 3 unsigned long long */
} Field;

static const Field FIELDS[] = {
    {186, "power_instant_mw", 1, 0, 1}, {185, "power_mw", 1, 0, 1},
    {83, "energy_w", 1e3, 1, 3}, {191, "energy_w", 1e3, 1, 3},
    {138, "nvlink_tx", 1.0 / 1024, 1, 3}, {139, "nvlink_rx", 1.0 / 1024, 1, 3},
    {202, "nvlink5_tx", 1, 1, 3}, {204, "nvlink5_rx", 1, 1, 3},
    {197, "pcie_counter_tx", 1, 1, 1}, {198, "pcie_counter_rx", 1, 1, 1}, /* 32 bits: they wrap */
    {94, "pcie_replays_per_s", 1, 1, 1},
    {74, "held_power", 1e9, 1, 3}, {75, "held_thermal", 1e9, 1, 3}, {76, "held_sync_boost", 1e9, 1, 3},
    {77, "held_board", 1e9, 1, 3}, {79, "held_reliability", 1e9, 1, 3}, {271, "held_brake", 1e9, 1, 3},
    {38, "nvlink_crc_flit_per_s", 1, 1, 3}, {45, "nvlink_crc_data_per_s", 1, 1, 3},
    {52, "nvlink_replays_per_s", 1, 1, 3}, {59, "nvlink_recoveries_per_s", 1, 1, 3},
    {90, "nvlink_mb_per_s", 1, 0, 1}, {91, "nvlink_links", 1, 0, 1},
    {215, "nvlink5_recoveries_per_s", 1, 1, 3}, {221, "nvlink5_symbol_errors_per_s", 1, 1, 3},
};

typedef struct {
    unsigned field, scope;
    long long stamp, latency;
    int type, answer;
    union { double d; unsigned u; unsigned long long ull; } value;
} FieldValue;

static void field_value(Handle device, FieldValue *one)
{
    double us = OTHER_FIELD_US;
    for (size_t i = 0; i < sizeof FIELD_TIMES / sizeof FIELD_TIMES[0]; i++)
        if (FIELD_TIMES[i].field == one->field)
            us = FIELD_TIMES[i].us;
    one->answer = NOT_SUPPORTED;
    for (size_t i = 0; i < sizeof FIELDS / sizeof FIELDS[0]; i++) {
        const Field *field = &FIELDS[i];
        if (field->field != one->field)
            continue;
        double value = 0;
        one->answer = field->is_total ? total(device, field->key, &value) : number(device, field->key, &value);
        one->type = field->type;
        unsigned long long whole = (unsigned long long)(value * field->unit);
        if (field->type == 1)
            one->value.u = (unsigned)whole;
        else
            one->value.ull = whole;
    }
    if (one->answer == OK)
        take(us, SPIN);
}

int nvmlDeviceGetFieldValues(Handle device, int count, FieldValue *values)
{
    int state = ready("nvmlDeviceGetFieldValues", device);
    for (int i = 0; i < count && state == OK; i++)
        field_value(device, &values[i]);
    return state;
}

typedef struct {
    Device *device;
    double at_s;
} Sample;

typedef struct {
    unsigned metric;
    int answer;
    double value;
    const char *names[3];
} Metric;

typedef struct {
    unsigned version, count;
    Sample *first, *second;
    Metric metrics[];
} MetricsGet;

static const struct { unsigned metric; const char *key; double unit; } METRICS[] = {
    {1, "graphics_active", 100}, {2, "sm_active", 100}, {3, "sm_occupancy", 100}, {5, "tensor_active", 100},
    {10, "dram_active", 100}, {11, "fp64_active", 100}, {12, "fp32_active", 100}, {13, "fp16_active", 100},
    {20, "pcie_tx", 1.0 / 1048576}, {21, "pcie_rx", 1.0 / 1048576},
    {60, "gpm_nvlink_rx", 1.0 / 1048576}, {61, "gpm_nvlink_tx", 1.0 / 1048576},
};

int nvmlGpmQueryDeviceSupport(Handle device, unsigned *support)
{
    double value = 0;
    int state = ready("nvmlGpmQueryDeviceSupport", device);
    support[1] = state == OK && number(device, "sm_active", &value) == OK;
    return state;
}

int nvmlGpmSampleAlloc(Sample **sample)
{
    *sample = calloc(1, sizeof **sample);
    return ready("nvmlGpmSampleAlloc", NULL);
}

int nvmlGpmSampleFree(Sample *sample)
{
    free(sample);
    return OK;
}

static int sampled(const char *call, Device *device, Sample *sample)
{
    double value = 0;
    int state = ready(call, device);
    if (state == OK)
        state = number(device, "sm_active", &value);
    *sample = (Sample){device, now_s()};
    return state;
}

int nvmlGpmSampleGet(Handle device, Sample *sample) { return sampled("nvmlGpmSampleGet", device, sample); }

int nvmlGpmMigSampleGet(Handle device, unsigned instance, Sample *sample)
{
    for (int i = 0; i < scenario.count; i++)
        if (scenario.devices[i].parent == device->number && scenario.devices[i].instance == (int)instance)
            return sampled("nvmlGpmMigSampleGet", &scenario.devices[i], sample);
    return BAD;
}

int nvmlGpmMetricsGet(MetricsGet *get)
{
    int state = ready("nvmlGpmMetricsGet", NULL);
    if (state == OK && (get->version != 1 || get->first->device != get->second->device))
        state = BAD;
    for (unsigned i = 0; i < get->count && state == OK; i++) {
        Metric *one = &get->metrics[i];
        one->answer = NOT_SUPPORTED;
        double span = get->second->at_s - get->first->at_s;
        for (size_t m = 0; m < sizeof METRICS / sizeof METRICS[0]; m++) {
            const Series *series = METRICS[m].metric == one->metric ? series_of(get->first->device, METRICS[m].key) : NULL;
            if (series == NULL)
                continue;
            one->answer = span > 0 ? series->error : BAD;
            one->value = grown(series, get->first->at_s, get->second->at_s) / span * METRICS[m].unit;
        }
    }
    return state;
}

#endif
