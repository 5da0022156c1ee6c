/* The substitute's processes, NVLinks, MIG instances and Xid events. */
#define _GNU_SOURCE
#include "driver.h"

#include <string.h>
#include <time.h>

/* -- processes -- */

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

int running(const char *call, Handle device, unsigned *count, void *room_for)
{
    RunningProcess *list = room_for;
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
                list[found] =
                    (RunningProcess){device->processes[i].pid,
                                     (unsigned long long)device->processes[i].memory, ~0u, ~0u};
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

int nvmlDeviceGetProcessUtilization(Handle device, ProcessShare *list, unsigned *count,
                                    unsigned long long since_us)
{
    int state = ready("nvmlDeviceGetProcessUtilization", device);
    if (state != OK)
        return state;
    const Series *refused = series_of(device, "process_utilization");
    if (refused && refused->error)
        return refused->error;
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    unsigned long long now_us =
        (unsigned long long)wall.tv_sec * 1000000ull + (unsigned long long)wall.tv_nsec / 1000ull;
    unsigned room = list ? *count : 0, found = 0;
    for (int i = 0; i < device->process_count; i++)
        if (alive(&device->processes[i]) && device->processes[i].sm > 0 && now_us > since_us) {
            if (list && found < room)
                list[found] = (ProcessShare){
                    device->processes[i].pid, now_us, (unsigned)device->processes[i].sm, 0, 0, 0};
            found++;
        }
    *count = found;
    if (found == 0)
        return NOT_FOUND;
    return found > room ? TOO_SMALL : OK;
}

/* -- NVLink -- */

int link_of(const char *call, Handle device, unsigned link)
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

/* -- MIG -- */

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

/* -- Xid events -- */

static Device *listening[MOST_DEVICES];

int nvmlEventSetCreate(void **set)
{
    *set = listening;
    begin_times();
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
        if (device && !device->xid_reported && now_s() >= device->xid_s) {
            device->xid_reported = 1;
            *event = (Event){device, 8, (unsigned long long)device->xid, ~0u, ~0u};
            return OK;
        }
    }
    return state == OK ? TIMEOUT : state;
}
