/* The nesting of intervals. */
#ifndef PERFSCOPE_NESTING_H
#define PERFSCOPE_NESTING_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* Sets `holder` of each interval to the innermost interval of its thread that is open when it
   starts, -1 for none. Intervals are sorted by thread and start; of those that start together, the
   longer is first. False without memory. */
bool find_holders(const int64_t *thread, const int64_t *start, const int64_t *end, int64_t *holder,
                  size_t count);

#endif
