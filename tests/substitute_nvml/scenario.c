#define _GNU_SOURCE
#include "scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

Scenario scenario;
static struct timespec zero;

/* Times begin when events are first listened for, after the first calls of a collector. */
static int begun;

void begin_times(void)
{
    if (!begun)
        clock_gettime(CLOCK_MONOTONIC, &zero);
    begun = 1;
}

double now_s(void)
{
    if (!begun)
        return 0.0;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - zero.tv_sec) + (double)(now.tv_nsec - zero.tv_nsec) * 1e-9;
}

const Series *series_of(const Device *device, const char *name)
{
    for (int i = 0; i < device->count; i++)
        if (strcmp(device->series[i].name, name) == 0)
            return &device->series[i];
    return NULL;
}

double value_at(const Series *series, double at_s)
{
    double value = series->value[0];
    for (int i = 0; i < series->points && series->at_s[i] <= at_s; i++)
        value = series->value[i];
    return value;
}

double grown(const Series *rate, double from_s, double to_s)
{
    double sum = 0.0;
    for (int i = 0; i < rate->points; i++) {
        double begin = i == 0 ? -1e9 : rate->at_s[i];
        double end = i + 1 < rate->points ? rate->at_s[i + 1] : 1e9;
        double low = begin > from_s ? begin : from_s, high = end < to_s ? end : to_s;
        if (high > low)
            sum += rate->value[i] * (high - low);
    }
    return sum;
}

static void fail_on_line(const char *line)
{
    fprintf(stderr, "substitute driver: cannot read this line of the scenario: %s\n", line);
    exit(70);
}

/* `KEY VALUE [@SECONDS VALUE]...` */
static void read_series(Device *device, const char *key, char *rest, const char *line)
{
    if (device->count == MOST_SERIES)
        fail_on_line(line);
    Series *series = (Series *)series_of(device, key);
    if (series == NULL)
        series = &device->series[device->count++];
    memset(series, 0, sizeof *series);
    snprintf(series->name, NAME, "%s", key);
    double at = 0.0;
    for (char *save, *word = strtok_r(rest, " \t", &save); word;
         word = strtok_r(NULL, " \t", &save)) {
        if (word[0] == '@') {
            at = atof(word + 1);
        } else if (series->points < MOST_POINTS) {
            series->at_s[series->points] = at;
            series->value[series->points++] = atof(word);
        }
    }
    if (series->points == 0)
        fail_on_line(line);
}

/* Read `FROM [TO]`, seconds. */
static void read_interval(const char *rest, double *from_s, double *to_s, const char *line)
{
    if (sscanf(rest, "%lf %lf", from_s, to_s) < 1)
        fail_on_line(line);
}

static int code_of(const char *word)
{
    static const struct {
        const char *name;
        int code;
    } codes[] = {
        {"NOT_SUPPORTED", 3}, {"NO_PERMISSION", 4}, {"DRIVER_NOT_LOADED", 9},
        {"TIMEOUT", 10},      {"GPU_IS_LOST", 15},  {"LIB_RM_VERSION_MISMATCH", 18},
        {"UNKNOWN", 999},
    };
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (strcmp(word, codes[i].name) == 0)
            return codes[i].code;
    return atoi(word);
}

static Device *new_device(int parent, int instance)
{
    Device *device = &scenario.devices[scenario.count];
    memset(device, 0, sizeof *device);
    device->number = scenario.count++;
    device->parent = parent;
    device->instance = instance;
    device->lost_from_s = device->xid_s = 1e9;
    device->lost_to_s = 1e9;
    snprintf(device->uuid, sizeof device->uuid, "%s-00000000-0000-0000-0000-%012d",
             parent < 0 ? "GPU" : "MIG", device->number);
    snprintf(device->bus, sizeof device->bus, "00000000:%02X:00.0", 0x10 + device->number);
    return device;
}

static int first_devices_parent(void)
{
    int parent = -1;
    for (int i = 0; i < scenario.count; i++)
        if (scenario.devices[i].parent < 0)
            parent = i;
    return parent;
}

static void read_line(char *line)
{
    char whole[512], key[NAME], rest[400] = "";
    snprintf(whole, sizeof whole, "%s", line);
    if (sscanf(line, " %63s %399[^\n]", key, rest) < 1 || key[0] == '#')
        return;
    Device *device = scenario.count ? &scenario.devices[scenario.count - 1] : NULL;
    if (strcmp(key, "driver") == 0)
        snprintf(scenario.driver, sizeof scenario.driver, "%.31s", rest);
    else if (strcmp(key, "cuda") == 0)
        scenario.cuda = atoi(rest);
    else if (strcmp(key, "speed") == 0)
        scenario.speed = atof(rest);
    else if (strcmp(key, "init") == 0)
        scenario.init_error = code_of(rest);
    else if (strcmp(key, "gone") == 0)
        read_interval(rest, &scenario.gone_from_s, &scenario.gone_to_s, whole);
    else if (strcmp(key, "device") == 0)
        snprintf(new_device(-1, -1)->name, NAME, "%.63s", rest);
    else if (device == NULL)
        fail_on_line(whole);
    else if (strcmp(key, "mig") == 0) {
        int parent = first_devices_parent();
        Device *mig = new_device(parent, atoi(rest));
        snprintf(mig->name, NAME, "%.40s MIG", scenario.devices[parent].name);
    } else if (strcmp(key, "bus") == 0)
        snprintf(device->bus, sizeof device->bus, "%.31s", rest);
    else if (strcmp(key, "live") == 0)
        snprintf(device->live, sizeof device->live, "%.255s", rest);
    else if (strcmp(key, "lost") == 0)
        read_interval(rest, &device->lost_from_s, &device->lost_to_s, whole);
    else if (strcmp(key, "xid") == 0) { /* xid CODE @SECONDS */
        if (sscanf(rest, "%lf @%lf", &device->xid, &device->xid_s) != 2)
            fail_on_line(whole);
    } else if (strcmp(key, "refuses") == 0) { /* refuses KEY CODE */
        char name[NAME], code[NAME];
        if (sscanf(rest, "%63s %63s", name, code) != 2)
            fail_on_line(whole);
        char no_value[] = "0";
        read_series(device, name, no_value, whole);
        ((Series *)series_of(device, name))->error = code_of(code);
    } else if (strcmp(key, "lacks") == 0) { /* lacks KEY: as if it had never been set */
        Series *series = (Series *)series_of(device, rest);
        if (series == NULL)
            fail_on_line(whole);
        series->error = 3;
    } else if (strcmp(key, "process") == 0) {
        Process *process = &device->processes[device->process_count++];
        process->to_s = 1e9;
        if (sscanf(rest, "%u %lf %lf %lf %lf", &process->pid, &process->memory, &process->sm,
                   &process->from_s, &process->to_s) < 3)
            fail_on_line(whole);
    } else if (strcmp(key, "link") == 0) { /* link N TYPE BUS */
        int link, to;
        char bus[32] = "";
        if (sscanf(rest, "%d %d %31s", &link, &to, bus) < 2 || link < 0 || link > 35)
            fail_on_line(whole);
        device->links[link].to = to;
        snprintf(device->links[link].bus, 32, "%s", bus);
    } else
        read_series(device, key, rest, whole);
}

void read_scenario(void)
{
    const char *path = getenv("SUBSTITUTE_SCENARIO");
    memset(&scenario, 0, sizeof scenario);
    scenario.gone_from_s = scenario.gone_to_s = 1e9;
    scenario.speed = 1.0;
    FILE *file = path ? fopen(path, "r") : NULL;
    if (file == NULL) {
        fprintf(stderr, "substitute driver: no scenario in SUBSTITUTE_SCENARIO (%s)\n",
                path ? path : "not set");
        exit(70);
    }
    char line[512];
    while (fgets(line, sizeof line, file))
        read_line(line);
    fclose(file);
    if (getenv("SUBSTITUTE_AT_ONCE") != NULL)
        begin_times();
}
