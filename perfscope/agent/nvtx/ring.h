/* A ring buffer of records in memory shared with the agent.
 * Writers never wait: what does not fit is dropped and counted. */
#ifndef PERFSCOPE_RING_H
#define PERFSCOPE_RING_H

#include <stddef.h>
#include <stdint.h>

/* The columns of perfscope/traces/run_folder/events.py: kind, tid, ts, dur, v0 .. v7. */
#define WIDTH 12

/* Connect to the agent at PERFSCOPE_NVTX ("address token pid uid"); return 0 if there is none. */
int ring_open(void);

/* Return whether the agent reads the ring. In a forked child this opens a new ring. */
int ring_on(void);

/* Return the code of a text, which is sent to the agent once. For NULL and beyond the limits this
 * is 0, the code of "(other names)". Call ring_on() first: a forked child must not write into the
 * ring of its parent. */
int64_t ring_code(const char *text);
int64_t ring_code_wide(const wchar_t *text);

void ring_put(const int64_t record[WIDTH]);
void ring_drop(void);

/* Return the kernel's id of the calling thread. */
int64_t ring_tid(void);

#endif
