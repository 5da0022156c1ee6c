/* A scenario: the answers of the substitute driver, as text. README.md describes the format. */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <stdint.h>

enum { MOST_DEVICES = 24, MOST_SERIES = 72, MOST_POINTS = 12, MOST_PROCESSES = 16, NAME = 64 };

/* A value that stays as it is from each of its instants to the next. */
typedef struct {
    char name[NAME];
    int points;
    double at_s[MOST_POINTS], value[MOST_POINTS];
    int error; /* what a call for it answers in place of a value, 0: the value */
} Series;

typedef struct {
    unsigned pid;
    double memory, sm, from_s, to_s;
} Process;

typedef struct Device {
    char name[NAME], uuid[96], bus[32];
    int number, parent, instance; /* parent and instance of a MIG device, else -1 */
    Series series[MOST_SERIES];
    int count;
    Process processes[MOST_PROCESSES];
    int process_count;
    double lost_from_s, lost_to_s;
    struct {
        int to;
        char bus[32];
    } links[36]; /* to: NVML's device type */
    char live[256]; /* file of a program that the counters follow, empty: none */
    double xid, xid_s;
    int xid_reported;
} Device;

typedef struct {
    char driver[32];
    int cuda, init_error;
    double speed;                  /* calls are this many times as fast as those of a real driver */
    double gone_from_s, gone_to_s; /* the driver is being reloaded */
    Device devices[MOST_DEVICES];
    int count;
} Scenario;

extern Scenario scenario;

void read_scenario(void);
void begin_times(void);
double now_s(void); /* since the times began, 0 before */
const Series *series_of(const Device *device, const char *name);
double value_at(const Series *series, double at_s);
double grown(const Series *rate, double from_s, double to_s); /* integral of a rate */
/* The value and the growth of a key that follows a program; return 0 if this one does not. */
int live_number(const Device *device, const char *key, double *value);
int live_growth(const Device *device, const char *key, double from_s, double to_s, double *value);

#endif
