/* What a running program reports to the substitute driver: a file that both map.
 * tests/simulated_accelerator writes it. */
#ifndef LIVE_H
#define LIVE_H

#include <stdint.h>

enum { LIVE_SPANS = 1 << 15 };

/* A time in which at least one kernel runs, by CLOCK_MONOTONIC. It may be in the future. */
typedef struct {
    int64_t start_ns, end_ns, busy_before_ns;
} LiveSpan;

typedef struct {
    uint64_t version; /* odd while the program changes it */
    uint64_t count;   /* spans so far, in order and disjoint; the last LIVE_SPANS are kept */
    int64_t memory_used;
    LiveSpan spans[LIVE_SPANS];
} LiveCounters;

#endif
