/* Numbers of a trace to int64, by the rules of columns.py. */
#ifndef PERFSCOPE_NUMBERS_H
#define PERFSCOPE_NUMBERS_H

#include "scan.h"

#define MISSING (-1)
#define BAD INT64_MIN
#define DAY_NS 86400000000000LL

/* Once, before anything else here. False without memory. */
bool prepare_numbers(void);

/* A whole number; -1 for null, none, or one beyond 63 bits. False for what Python has to look at. */
bool whole_number(const Token *token, int64_t *found);

/* Microseconds, a number or its text, to ns; BAD for none, null and impossible ones. False as above. */
bool nanoseconds(const Token *token, int64_t *found);

#endif
