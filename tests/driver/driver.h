/* What the parts of the stand-in share: answers of NVML, and what a scenario says now. */
#ifndef DRIVER_H
#define DRIVER_H

#include "scenario.h"

enum { OK, UNINITIALIZED, BAD, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND = 6, TOO_SMALL, TIMEOUT = 10, LOST = 15 };

typedef Device *Handle;

enum How { SPIN, BLOCK };

typedef struct {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char text[32];
} Pci;

void take(double us, enum How how);               /* as long as a call takes */
int ready(const char *call, const Device *device); /* takes the call's time; OK, or why nothing is answered */
int number(const Device *device, const char *key, double *value); /* as it stands */
int total(const Device *device, const char *key, double *value);  /* grown since the driver's load */
void fill_pci(const char *text, Pci *pci);
int clock_events(const char *call, Handle device, unsigned long long *mask);
int running(const char *call, Handle device, unsigned *count, void *list);
int link_of(const char *call, Handle device, unsigned link);

#endif
