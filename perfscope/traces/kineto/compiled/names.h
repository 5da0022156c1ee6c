/* Different texts of one column, numbered from 0 in the order they come. */
#ifndef PERFSCOPE_NAMES_H
#define PERFSCOPE_NAMES_H

#include "scan.h"

typedef struct {
    const char *begin; /* in the piece that is read */
    uint32_t length, hash;
    bool escaped;
} Name;

typedef struct {
    Name *names;
    int32_t *slots; /* open addressing; a name's number + 1, 0 for a free place */
    size_t count, capacity, mask;
    int32_t latest; /* what came last often comes again */
} Names;

/* The number of a text, or -1 without memory and for texts chosen to have one hash. */
int32_t number_of(Names *names, const Token *text);
void forget_names(Names *names);

#endif
