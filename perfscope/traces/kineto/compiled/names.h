/* The distinct texts of a column, numbered from 0 in order of appearance. */
#ifndef PERFSCOPE_NAMES_H
#define PERFSCOPE_NAMES_H

#include "scan.h"

typedef struct {
    const char *begin; /* in the text of the piece */
    uint32_t length, hash;
    bool escaped;
} Name;

typedef struct {
    Name *names;
    int32_t *slots; /* open addressing: the number of a name + 1, 0 for a free slot */
    size_t count, capacity, mask;
    int32_t latest; /* the last text is often repeated */
} Names;

/* The number of a text; -1 without memory, and if too many texts have the same hash. */
int32_t number_of(Names *names, const Token *text);
void forget_names(Names *names);

#endif
