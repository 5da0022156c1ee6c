#include "names.h"

#include <stdlib.h>
#include <string.h>

/* With a good hash, runs have a few dozen slots. Longer runs are the work of an attacker and would
   make reading quadratic. */
enum { FIRST_CAPACITY = 64, LONGEST_RUN = 1000 };

static uint32_t hash_of(const char *at, size_t length)
{
    uint64_t hash = length * 0x9E3779B97F4A7C15u, word;
    for (; length >= 8; at += 8, length -= 8) {
        memcpy(&word, at, 8);
        hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, at, length);
    hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
    return (uint32_t)(hash ^ (hash >> 32));
}

static bool same(const Name *name, const Token *text, size_t length)
{
    return name->length == length && !memcmp(name->begin, text->begin, length);
}

static bool grow(Names *names)
{
    size_t capacity = names->capacity ? names->capacity * 2 : FIRST_CAPACITY;
    size_t mask = capacity * 2 - 1;
    Name *more = realloc(names->names, capacity * sizeof *more);
    if (!more)
        return false;
    names->names = more;
    int32_t *slots = calloc(mask + 1, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < names->count; i++) {
        size_t at = more[i].hash & mask, run = 0;
        for (; slots[at]; at = (at + 1) & mask)
            if (++run > LONGEST_RUN) {
                free(slots);
                return false;
            }
        slots[at] = (int32_t)i + 1;
    }
    free(names->slots);
    names->slots = slots;
    names->capacity = capacity;
    names->mask = mask;
    return true;
}

int32_t number_of(Names *names, const Token *text)
{
    size_t length = (size_t)(text->end - text->begin);
    if (length > UINT32_MAX)
        return -1;
    if (names->count && same(&names->names[names->latest], text, length))
        return names->latest;
    if (names->count == names->capacity && !grow(names))
        return -1;
    uint32_t hash = hash_of(text->begin, length);
    size_t at = hash & names->mask, run = 0;
    for (; names->slots[at]; at = (at + 1) & names->mask) {
        if (++run > LONGEST_RUN)
            return -1;
        Name *name = &names->names[names->slots[at] - 1];
        if (name->hash == hash && same(name, text, length))
            return names->latest = names->slots[at] - 1;
    }
    names->names[names->count] = (Name){text->begin, (uint32_t)length, hash, text->escaped};
    names->slots[at] = (int32_t)++names->count;
    return names->latest = (int32_t)names->count - 1;
}

void forget_names(Names *names)
{
    free(names->names);
    free(names->slots);
    *names = (Names){0};
}
