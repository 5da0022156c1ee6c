/* Duration of each call in microseconds, and how it passes: SPIN keeps the core busy (the driver
 * polls the firmware of the device), BLOCK sleeps.
 *
 * Sources, each for one card and driver (there is no official figure but the last):
 *   [4090]  MangoHud, pull request 2104: medians on an RTX 4090 laptop, driver 610.57
 *   [5090]  opstui, its NVML backend's comments: an RTX 5090, driver 610
 *   [K40m]  gpustat, issue 76: 2743 calls of GetPowerUsage per second
 *   [NVML]  NVML's reference: "querying a byte counter over a 20 ms interval"
 *   assumed no number found: that of the most similar call, the slower one of two
 */
#ifndef CALL_TIMES_H
#define CALL_TIMES_H

#include "driver.h"

typedef struct {
    const char *call;
    double us;
    enum How how;
} CallTime;

__attribute__((unused)) static const CallTime CALL_TIMES[] = {
    {"nvmlInitWithFlags", 4000, SPIN},                   /* [5090] */
    {"nvmlDeviceGetHandleByIndex_v2", 6000, SPIN},       /* [5090] */
    {"nvmlDeviceGetUtilizationRates", 2.5, SPIN},        /* [4090]; "below a microsecond" [5090] */
    {"nvmlDeviceGetMemoryInfo", 11.6, SPIN},             /* [4090] */
    {"nvmlDeviceGetClockInfo", 0.5, SPIN},               /* [5090] */
    {"nvmlDeviceGetTemperature", 1, SPIN},               /* "below a microsecond" [5090] */
    {"nvmlDeviceGetCurrentClocksEventReasons", 1, SPIN}, /* "below a microsecond" [5090] */
    {"nvmlDeviceGetCurrentClocksThrottleReasons", 1, SPIN},
    {"nvmlDeviceGetPowerUsage", 365, SPIN},                  /* [K40m] */
    {"nvmlDeviceGetPcieThroughput", 21000, BLOCK},           /* [5090], [NVML] */
    {"nvmlDeviceGetComputeRunningProcesses_v3", 4491, SPIN}, /* GetGraphics... [4090] */
    {"nvmlDeviceGetComputeRunningProcesses_v2", 4491, SPIN},
    {"nvmlDeviceGetProcessUtilization", 225, SPIN}, /* assumed: as a counter read from the device */
    {"nvmlGpmSampleGet", 225, SPIN},                /* assumed: as a counter read from the device */
    {"nvmlGpmMigSampleGet", 225, SPIN},             /* assumed */
    {"nvmlGpmMetricsGet", 5, SPIN},                 /* assumed: arithmetic on two samples */
    {"nvmlDeviceGetTotalEnergyConsumption", 225, SPIN}, /* assumed */
    {"nvmlDeviceGetTotalEccErrors", 137, SPIN},         /* assumed: as GetFanSpeed [4090] */
    {"nvmlEventSetWait_v2", 1, SPIN},                   /* assumed: a timeout of zero */
};

/* nvmlDeviceGetFieldValues: what each field adds. */
__attribute__((unused)) static const struct {
    unsigned field;
    double us;
} FIELD_TIMES[] = {
    {186, 3},                                        /* [5090] POWER_INSTANT */
    {185, 3300},                                     /* [5090] POWER_AVERAGE */
    {197, 225},  {198, 225},                         /* [5090] both counters 0.45 ms */
    {138, 225},  {139, 225}, {202, 225}, {204, 225}, /* assumed: as the PCIe counters */
};
/* Assumed: values that the driver holds, as memory info [4090]. */
__attribute__((unused)) static const double OTHER_FIELD_US = 10;
__attribute__((unused)) static const double OTHER_CALL_US = 10;

#endif
