#include "nesting.h"

bool find_holders(const int64_t *thread, const int64_t *start, const int64_t *end, int64_t *holder,
                  size_t count)
{
    size_t *open = malloc((count ? count : 1) * sizeof *open), depth = 0;
    if (!open)
        return false;
    for (size_t i = 0; i < count; i++) {
        while (depth && (thread[open[depth - 1]] != thread[i] || end[open[depth - 1]] <= start[i]))
            depth--;
        holder[i] = depth ? (int64_t)open[depth - 1] : -1;
        open[depth++] = i;
    }
    free(open);
    return true;
}
