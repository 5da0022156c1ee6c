/* Counters that follow a running program: `live FILE` in a scenario. */
#define _GNU_SOURCE
#include "live.h"
#include "scenario.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const double CONTEXT_BYTES = 500e6, IDLE_W = 60, LOAD_W = 330;
/* NVML's utilization is that of the last sixth of a second to second. */
static const double UTILIZATION_S = 1.0 / 6;

static const LiveCounters *counters_of(const Device *device)
{
    static const LiveCounters *mapped[MOST_DEVICES];
    const LiveCounters **at = &mapped[device->number];
    if (*at || device->live[0] == '\0')
        return *at;
    int file = open(device->live, O_RDONLY);
    void *memory = file < 0 ? MAP_FAILED
                            : mmap(NULL, sizeof(LiveCounters), PROT_READ, MAP_SHARED, file, 0);
    if (file >= 0)
        close(file);
    if (memory != MAP_FAILED)
        *at = memory;
    return *at;
}

/* The seconds with a kernel until an instant, as far back as the program keeps them. */
static double busy_s(const LiveCounters *live, int64_t until_ns)
{
    for (uint64_t kept = 0; kept < LIVE_SPANS && kept < live->count; kept++) {
        LiveSpan span = live->spans[(live->count - 1 - kept) % LIVE_SPANS];
        if (span.start_ns <= until_ns) {
            int64_t end = span.end_ns < until_ns ? span.end_ns : until_ns;
            return (double)(span.busy_before_ns + end - span.start_ns) * 1e-9;
        }
    }
    return 0;
}

static double busy_between(const LiveCounters *live, double from_s, double to_s)
{
    uint64_t version;
    double seconds;
    do {
        while ((version = __atomic_load_n(&live->version, __ATOMIC_ACQUIRE)) & 1)
            ;
        seconds = busy_s(live, (int64_t)(to_s * 1e9)) - busy_s(live, (int64_t)(from_s * 1e9));
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (version != __atomic_load_n(&live->version, __ATOMIC_ACQUIRE));
    return seconds;
}

static double monotonic_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int live_number(const Device *device, const char *key, double *value)
{
    const LiveCounters *live = counters_of(device);
    if (live == NULL)
        return 0;
    double now = monotonic_s();
    double share = busy_between(live, now - UTILIZATION_S, now) / UTILIZATION_S;
    if (strcmp(key, "utilization") == 0)
        *value = 100 * share;
    else if (strcmp(key, "memory_used") == 0)
        *value = CONTEXT_BYTES + (double)live->memory_used;
    else if (strcmp(key, "power_mw") == 0 || strcmp(key, "power_instant_mw") == 0)
        *value = 1e3 * (IDLE_W + (LOAD_W - IDLE_W) * share);
    else
        return 0;
    return 1;
}

int live_growth(const Device *device, const char *key, double from_s, double to_s, double *value)
{
    const LiveCounters *live = counters_of(device);
    if (live == NULL)
        return 0;
    double to_clock = monotonic_s() - now_s();
    double seconds = busy_between(live, from_s + to_clock, to_s + to_clock);
    if (strcmp(key, "energy_w") == 0)
        *value = IDLE_W * (to_s - from_s) + (LOAD_W - IDLE_W) * seconds;
    else if (strcmp(key, "graphics_active") == 0 || strcmp(key, "sm_active") == 0)
        *value = seconds;
    else
        return 0;
    return 1;
}
