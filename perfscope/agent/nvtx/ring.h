/* A ring of records in memory shared with the agent. Whoever writes never waits: what does not fit is dropped and counted. */
#ifndef PERFSCOPE_RING_H
#define PERFSCOPE_RING_H

#include <stddef.h>
#include <stdint.h>

/* As perfscope/traces/events.py has them: kind, tid, ts, dur, v0 .. v7. */
#define WIDTH 12

/* Call the agent at PERFSCOPE_NVTX ("address token pid uid"); 0 when there is none. */
int ring_open(void);

/* Is anybody listening? In a forked child this opens a ring of its own. */
int ring_on(void);

/* Return the code of a text, which is sent to the agent once; for NULL and past the limits 0, the code of "(other names)".
 * Call ring_on() first: a forked child must not write into the ring of its parent. */
int64_t ring_code(const char *text);
int64_t ring_code_wide(const wchar_t *text);

void ring_put(const int64_t record[WIDTH]);
void ring_drop(void);

/* The calling thread, as the kernel numbers it. */
int64_t ring_tid(void);

#endif
