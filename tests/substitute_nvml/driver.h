/* Shared by the parts of the substitute driver: return codes of NVML, current scenario values. */
#ifndef DRIVER_H
#define DRIVER_H

#include "scenario.h"

enum {
    OK,
    UNINITIALIZED,
    BAD,
    NOT_SUPPORTED,
    NO_PERMISSION,
    NOT_FOUND = 6,
    TOO_SMALL,
    TIMEOUT = 10,
    LOST = 15
};

typedef Device *Handle;

enum How { SPIN, BLOCK };

typedef struct {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char text[32];
} Pci;

/* Spend the duration of a call. */
void take(double us, enum How how);
/* Spend the duration of `call`, and return OK or the error of the device. */
int ready(const char *call, const Device *device);
/* Read the current value of a key. */
int number(const Device *device, const char *key, double *value);
/* Read the growth of a key since the driver was loaded. */
int total(const Device *device, const char *key, double *value);
void fill_pci(const char *text, Pci *pci);
int clock_events(const char *call, Handle device, unsigned long long *mask);
int running(const char *call, Handle device, unsigned *count, void *list);
int link_of(const char *call, Handle device, unsigned link);

#endif
