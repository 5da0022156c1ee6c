/* What an old driver does not have: field values, GPM, the newer versions of some calls. */
#define _GNU_SOURCE
#include "call_times.h"
#include "driver.h"

#include <stdlib.h>

#ifndef OLD_DRIVER

int nvmlDeviceGetCurrentClocksEventReasons(Handle device, unsigned long long *mask)
{
    return clock_events("nvmlDeviceGetCurrentClocksEventReasons", device, mask);
}

int nvmlDeviceGetComputeRunningProcesses_v3(Handle device, unsigned *count, void *list)
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

/* Fields: `totals` of rates, with their unit; `numbers` as current values. */
typedef struct {
    unsigned field;
    const char *key;
    double unit;
    int is_total, type; /* NVML's value type: 1 unsigned, 3 unsigned long long */
} Field;

static const Field FIELDS[] = {
    {186, "power_instant_mw", 1, 0, 1},
    {185, "power_mw", 1, 0, 1},
    {83, "energy_w", 1e3, 1, 3},
    {191, "energy_w", 1e3, 1, 3},
    {138, "nvlink_tx", 1.0 / 1024, 1, 3},
    {139, "nvlink_rx", 1.0 / 1024, 1, 3},
    {202, "nvlink5_tx", 1, 1, 3},
    {204, "nvlink5_rx", 1, 1, 3},
    {197, "pcie_counter_tx", 1, 1, 1},
    {198, "pcie_counter_rx", 1, 1, 1}, /* 32 bits: they wrap */
    {94, "pcie_replays_per_s", 1, 1, 1},
    {74, "held_power", 1e9, 1, 3},
    {75, "held_thermal", 1e9, 1, 3},
    {76, "held_sync_boost", 1e9, 1, 3},
    {77, "held_board", 1e9, 1, 3},
    {79, "held_reliability", 1e9, 1, 3},
    {271, "held_brake", 1e9, 1, 3},
    {38, "nvlink_crc_flit_per_s", 1, 1, 3},
    {45, "nvlink_crc_data_per_s", 1, 1, 3},
    {52, "nvlink_replays_per_s", 1, 1, 3},
    {59, "nvlink_recoveries_per_s", 1, 1, 3},
    {90, "nvlink_mb_per_s", 1, 0, 1},
    {91, "nvlink_links", 1, 0, 1},
    {215, "nvlink5_recoveries_per_s", 1, 1, 3},
    {221, "nvlink5_symbol_errors_per_s", 1, 1, 3},
};

typedef struct {
    unsigned field, scope;
    long long stamp, latency;
    int type, answer;
    union {
        double d;
        unsigned u;
        unsigned long long ull;
    } value;
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
        one->answer = field->is_total ? total(device, field->key, &value)
                                      : number(device, field->key, &value);
        one->type = field->type;
        double links = 0;
        if (field->field >= 200 && field->field < 226 && one->scope != ~0u) { /* of one link */
            if (number(device, "nvlink_links", &links) != OK || one->scope >= (unsigned)links)
                one->answer = NOT_SUPPORTED;
            value /= links > 0 ? links : 1;
        }
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

static const struct {
    unsigned metric;
    const char *key;
    double unit;
} METRICS[] = {
    {1, "graphics_active", 100},
    {2, "sm_active", 100},
    {3, "sm_occupancy", 100},
    {5, "tensor_active", 100},
    {10, "dram_active", 100},
    {11, "fp64_active", 100},
    {12, "fp32_active", 100},
    {13, "fp16_active", 100},
    {20, "pcie_tx", 1.0 / 1048576},
    {21, "pcie_rx", 1.0 / 1048576},
    {60, "gpm_nvlink_rx", 1.0 / 1048576},
    {61, "gpm_nvlink_tx", 1.0 / 1048576},
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
    if (number(device, "gpm_sample", &value) == NO_PERMISSION)
        state = NO_PERMISSION; /* the support of GPM does not show it */
    *sample = (Sample){device, now_s()};
    return state;
}

int nvmlGpmSampleGet(Handle device, Sample *sample)
{
    return sampled("nvmlGpmSampleGet", device, sample);
}

int nvmlGpmMigSampleGet(Handle device, unsigned instance, Sample *sample)
{
    for (int i = 0; i < scenario.count; i++)
        if (scenario.devices[i].parent == device->number &&
            scenario.devices[i].instance == (int)instance)
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
            const Series *series = METRICS[m].metric == one->metric
                                       ? series_of(get->first->device, METRICS[m].key)
                                       : NULL;
            if (series == NULL)
                continue;
            one->answer = span > 0 ? series->error : BAD;
            double growth = grown(series, get->first->at_s, get->second->at_s);
            live_growth(get->first->device, METRICS[m].key, get->first->at_s,
                        get->second->at_s, &growth);
            one->value = growth / span * METRICS[m].unit;
        }
    }
    return state;
}

#endif
