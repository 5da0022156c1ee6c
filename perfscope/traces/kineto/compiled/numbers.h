/* Conversion of numbers in a trace to int64, by the rules of columns.py. */
#ifndef PERFSCOPE_NUMBERS_H
#define PERFSCOPE_NUMBERS_H

#include "scan.h"

#define MISSING (-1)
#define BAD INT64_MIN
#define DAY_NS 86400000000000LL

/* Must be called once, before the other functions. False without memory. */
bool prepare_numbers(void);

/* Sets `found` to an integer; to MISSING for null, without a value, and beyond 63 bits. False for
   other values, which Python has to parse. */
bool whole_number(const Token *token, int64_t *found);

/* Sets `found` to nanoseconds, from a number of microseconds or its text; to BAD for null, without
   a value, and for impossible numbers. False as above. */
bool nanoseconds(const Token *token, int64_t *found);

#endif
