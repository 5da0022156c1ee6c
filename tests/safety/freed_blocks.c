/* Preloaded into a program: keeps freed blocks, filled with a pattern, and counts those that are
 * written to afterwards.
 *
 * Only blocks of the size of the profiler's (512 operators, about 78 KB) are kept; all others are
 * freed as usual.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <string.h>

#define MOST 20000
#define SMALLEST 60000
#define LARGEST 100000
#define PATTERN 0xA5

static void (*real_free)(void *);
static unsigned char *kept[MOST];
static size_t sizes[MOST];
static int count;
static int on = 1;

void freed_blocks_keep(int wanted) { on = wanted; }

int freed_blocks_kept(void) { return count < MOST ? count : MOST; }

int freed_blocks_written(void) {
    int written = 0;
    for (int at = 0; at < freed_blocks_kept(); at++)
        for (size_t byte = 0; byte < sizes[at]; byte++)
            if (kept[at][byte] != PATTERN) {
                written++;
                break;
            }
    return written;
}

void free(void *block) {
    if (real_free == NULL) real_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    size_t size = block != NULL && on ? malloc_usable_size(block) : 0;
    if (size < SMALLEST || size > LARGEST) {
        real_free(block);
        return;
    }
    int at = __atomic_fetch_add(&count, 1, __ATOMIC_SEQ_CST);
    if (at >= MOST) {
        real_free(block);
        return;
    }
    memset(block, PATTERN, size);
    sizes[at] = size;
    kept[at] = block;
}
