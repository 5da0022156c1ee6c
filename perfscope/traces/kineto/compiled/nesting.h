/* Which interval lies in which. */
#ifndef PERFSCOPE_NESTING_H
#define PERFSCOPE_NESTING_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* For each interval the innermost one of its thread that is open when it starts, -1 for none; sorted by thread and start, of
   those that start together the longer first. False without memory. */
bool find_holders(const int64_t *thread, const int64_t *start, const int64_t *end, int64_t *holder, size_t count);

#endif
