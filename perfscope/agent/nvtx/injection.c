/* The functions that NVTX calls once a process has loaded this library (NVTX_INJECTION64_PATH).
 *
 * A range is one record, written when it ends. Until then it is kept on the stack of its thread
 * (push, pop) or in a table that all threads share (start, end). Ranges that are still open when
 * the process ends are not recorded.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nvtx3.h"
#include "ring.h"

#define KIND_NVTX 14 /* NVTX of perfscope/traces/run_folder/events.py */
enum { BY_PUSH = 0, BY_START = 1, BY_MARK = 2 };
enum { PAYLOAD_NONE = 0, PAYLOAD_SIGNED = 1, PAYLOAD_UNSIGNED = 2, PAYLOAD_REAL = 3 };
#define DEEPEST 128
#define OPEN_RANGES 4096u
#define TRIES 64u
#define CATEGORIES 256

typedef struct {
    int64_t name;
    _Atomic int named;
    struct {
        uint32_t id;
        int64_t name;
    } categories[CATEGORIES];
} domain;

typedef struct {
    domain *domain;
    int64_t name, category, category_id, payload, payload_type, ts, tid;
} event;

typedef struct {
    int depth, over;
    event events[DEEPEST];
} stack;

typedef struct {
    _Atomic uint64_t id; /* 0: free, 1: being filled or taken */
    event event;
} open_range;

static domain plain = {.name = -1};
static pthread_mutex_t naming = PTHREAD_MUTEX_INITIALIZER;
static open_range open_ranges[OPEN_RANGES];
static _Atomic uint64_t started;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static __thread stack *thread_stack;
static __thread int thread_has_ended;

static int64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static domain *domain_of(void *handle) { return handle != NULL ? handle : &plain; }

/* Return the code of a registered string; its handle is the code plus 1. */
static int64_t registered_code(const void *handle) {
    return handle != NULL ? (int64_t)(intptr_t)handle - 1 : 0;
}

static void set_payload(event *made, const event_attributes *attributes) {
    made->payload_type = PAYLOAD_SIGNED;
    double real = 0;
    switch (attributes->payload_type) {
        case PAYLOAD_UINT64:
            made->payload_type = PAYLOAD_UNSIGNED;
            made->payload = (int64_t)attributes->payload.u64;
            return;
        case PAYLOAD_INT64: made->payload = attributes->payload.i64; return;
        case PAYLOAD_UINT32: made->payload = attributes->payload.u32; return;
        case PAYLOAD_INT32: made->payload = attributes->payload.i32; return;
        case PAYLOAD_DOUBLE: real = attributes->payload.f64; break;
        case PAYLOAD_FLOAT: real = (double)attributes->payload.f32; break;
        default: made->payload_type = PAYLOAD_NONE; return;
    }
    made->payload_type = PAYLOAD_REAL;
    memcpy(&made->payload, &real, sizeof real);
}

static void describe(event *made, domain *where, const event_attributes *attributes) {
    *made = (event){.domain = where, .category = -1, .category_id = -1, .tid = ring_tid()};
    if (attributes == NULL || attributes->size < sizeof *attributes) return;
    if (attributes->message_type == MESSAGE_REGISTERED)
        made->name = registered_code(attributes->message.registered);
    else if (attributes->message_type == MESSAGE_ASCII)
        made->name = ring_code(attributes->message.ascii);
    else if (attributes->message_type == MESSAGE_UNICODE)
        made->name = ring_code_wide(attributes->message.unicode);
    if (attributes->category != 0) {
        made->category_id = attributes->category;
        int count = atomic_load_explicit(&where->named, memory_order_acquire);
        for (int at = 0; at < count; at++)
            if (where->categories[at].id == attributes->category)
                made->category = where->categories[at].name;
    }
    set_payload(made, attributes);
}

static void put(const event *ended, int64_t end, int64_t kind, int64_t end_tid) {
    const int64_t record[WIDTH] = {
        KIND_NVTX,
        ended->tid,
        ended->ts,
        end - ended->ts,
        ended->name,
        ended->domain->name,
        ended->category,
        ended->category_id,
        ended->payload,
        ended->payload_type,
        kind,
        end_tid,
    };
    ring_put(record);
}

/* The thread ends. Destructors of the program's keys may still call NVTX after this; those ranges
 * are not recorded. */
static void end_stack(void *ended) {
    thread_stack = NULL;
    thread_has_ended = 1;
    free(ended);
}

static void make_key(void) { pthread_key_create(&key, end_stack); }

static stack *get_stack(void) {
    if (thread_stack == NULL && !thread_has_ended) {
        pthread_once(&once, make_key);
        thread_stack = calloc(1, sizeof *thread_stack);
        if (thread_stack != NULL) pthread_setspecific(key, thread_stack);
    }
    return thread_stack;
}

static int level(const stack *current, const domain *where) {
    int count = 0;
    for (int at = 0; at < current->depth; at++) count += current->events[at].domain == where;
    return count;
}

static int push(void *handle, const event_attributes *attributes) {
    if (!ring_on()) return NO_PUSH_POP_TRACKING;
    stack *current = get_stack();
    if (current == NULL) return NO_PUSH_POP_TRACKING;
    if (current->depth == DEEPEST) {
        current->over++;
        ring_drop();
        return NO_PUSH_POP_TRACKING;
    }
    event *made = &current->events[current->depth];
    int before = level(current, domain_of(handle));
    describe(made, domain_of(handle), attributes);
    current->depth++;
    made->ts = now();
    return before;
}

static int pop(void *handle) {
    int64_t end = now();
    stack *current = thread_stack;
    if (!ring_on() || current == NULL) return NO_PUSH_POP_TRACKING;
    if (current->over > 0) {
        current->over--;
        return NO_PUSH_POP_TRACKING;
    }
    domain *where = domain_of(handle);
    for (int at = current->depth - 1; at >= 0; at--) {
        if (current->events[at].domain != where) continue;
        put(&current->events[at], end, BY_PUSH, -1);
        current->depth--;
        size_t above = (size_t)(current->depth - at);
        memmove(&current->events[at], &current->events[at + 1], above * sizeof(event));
        return level(current, where);
    }
    return NO_PUSH_POP_TRACKING;
}

static uint64_t start(void *handle, const event_attributes *attributes) {
    if (!ring_on()) return 0;
    uint64_t number = atomic_fetch_add(&started, 1) + 1;
    for (uint64_t at = number; at < number + TRIES; at++) {
        open_range *range = &open_ranges[at % OPEN_RANGES];
        uint64_t free_ = 0;
        if (!atomic_compare_exchange_strong(&range->id, &free_, 1)) continue;
        describe(&range->event, domain_of(handle), attributes);
        range->event.ts = now();
        uint64_t id = number * OPEN_RANGES + at % OPEN_RANGES;
        atomic_store(&range->id, id);
        return id;
    }
    ring_drop();
    return 0;
}

static void end(void *handle, uint64_t id) {
    (void)handle;
    int64_t ended = now();
    if (id < OPEN_RANGES || !ring_on()) return;
    open_range *range = &open_ranges[id % OPEN_RANGES];
    uint64_t open_ = id;
    if (!atomic_compare_exchange_strong(&range->id, &open_, 1)) return;
    int64_t end_tid = ring_tid();
    put(&range->event, ended, BY_START, end_tid == range->event.tid ? -1 : end_tid);
    atomic_store(&range->id, 0);
}

static void mark(void *handle, const event_attributes *attributes) {
    if (!ring_on()) return;
    event made;
    describe(&made, domain_of(handle), attributes);
    made.ts = now();
    put(&made, made.ts, BY_MARK, -1);
}

static event_attributes narrow(const char *text) {
    return (event_attributes){
        .size = sizeof(event_attributes),
        .message_type = MESSAGE_ASCII,
        .message.ascii = text,
    };
}

static event_attributes wide(const wchar_t *text) {
    return (event_attributes){
        .size = sizeof(event_attributes),
        .message_type = MESSAGE_UNICODE,
        .message.unicode = text,
    };
}

static void name_category(void *handle, uint32_t id, int64_t name) {
    domain *where = domain_of(handle);
    pthread_mutex_lock(&naming);
    int count = atomic_load(&where->named), at = 0;
    while (at < count && where->categories[at].id != id) at++;
    if (at < CATEGORIES) {
        where->categories[at].id = id;
        where->categories[at].name = name;
        if (at == count) atomic_store_explicit(&where->named, count + 1, memory_order_release);
    }
    pthread_mutex_unlock(&naming);
}

static void *create_domain(int64_t name) {
    domain *made = calloc(1, sizeof *made);
    if (made != NULL) made->name = name;
    return made;
}

static void mark_ex(const event_attributes *attributes) { mark(NULL, attributes); }
static void mark_a(const char *text) {
    event_attributes attributes = narrow(text);
    mark(NULL, &attributes);
}
static void mark_w(const wchar_t *text) {
    event_attributes attributes = wide(text);
    mark(NULL, &attributes);
}
static uint64_t start_ex(const event_attributes *attributes) { return start(NULL, attributes); }
static uint64_t start_a(const char *text) {
    event_attributes attributes = narrow(text);
    return start(NULL, &attributes);
}
static uint64_t start_w(const wchar_t *text) {
    event_attributes attributes = wide(text);
    return start(NULL, &attributes);
}
static void end_plain(uint64_t id) { end(NULL, id); }
static int push_ex(const event_attributes *attributes) { return push(NULL, attributes); }
static int push_a(const char *text) {
    event_attributes attributes = narrow(text);
    return push(NULL, &attributes);
}
static int push_w(const wchar_t *text) {
    event_attributes attributes = wide(text);
    return push(NULL, &attributes);
}
static int pop_plain(void) { return pop(NULL); }
/* In a forked child ring_on() opens a new ring, so that no code goes into the parent's. */
static int64_t code(const char *text) { return ring_on() ? ring_code(text) : 0; }
static int64_t code_wide(const wchar_t *text) { return ring_on() ? ring_code_wide(text) : 0; }
static void *registered(int64_t name) { return (void *)(intptr_t)(name + 1); }

static void category_a(uint32_t id, const char *text) { name_category(NULL, id, code(text)); }
static void category_w(uint32_t id, const wchar_t *text) {
    name_category(NULL, id, code_wide(text));
}
static void domain_category_a(void *handle, uint32_t id, const char *text) {
    name_category(handle, id, code(text));
}
static void domain_category_w(void *handle, uint32_t id, const wchar_t *text) {
    name_category(handle, id, code_wide(text));
}
static void *register_a(void *handle, const char *text) {
    (void)handle;
    return registered(code(text));
}
static void *register_w(void *handle, const wchar_t *text) {
    (void)handle;
    return registered(code_wide(text));
}
static void *create_a(const char *text) { return create_domain(code(text)); }
static void *create_w(const wchar_t *text) { return create_domain(code_wide(text)); }

typedef struct {
    unsigned int at;
    function call;
} entry;

static const entry core[] = {
    {CORE_MARK_EX, (function)mark_ex},         {CORE_MARK_A, (function)mark_a},
    {CORE_MARK_W, (function)mark_w},           {CORE_RANGE_START_EX, (function)start_ex},
    {CORE_RANGE_START_A, (function)start_a},   {CORE_RANGE_START_W, (function)start_w},
    {CORE_RANGE_END, (function)end_plain},     {CORE_RANGE_PUSH_EX, (function)push_ex},
    {CORE_RANGE_PUSH_A, (function)push_a},     {CORE_RANGE_PUSH_W, (function)push_w},
    {CORE_RANGE_POP, (function)pop_plain},     {CORE_NAME_CATEGORY_A, (function)category_a},
    {CORE_NAME_CATEGORY_W, (function)category_w},
};

static const entry core2[] = {
    {CORE2_DOMAIN_MARK_EX, (function)mark},
    {CORE2_DOMAIN_RANGE_START_EX, (function)start},
    {CORE2_DOMAIN_RANGE_END, (function)end},
    {CORE2_DOMAIN_RANGE_PUSH_EX, (function)push},
    {CORE2_DOMAIN_RANGE_POP, (function)pop},
    {CORE2_DOMAIN_NAME_CATEGORY_A, (function)domain_category_a},
    {CORE2_DOMAIN_NAME_CATEGORY_W, (function)domain_category_w},
    {CORE2_DOMAIN_REGISTER_STRING_A, (function)register_a},
    {CORE2_DOMAIN_REGISTER_STRING_W, (function)register_w},
    {CORE2_DOMAIN_CREATE_A, (function)create_a},
    {CORE2_DOMAIN_CREATE_W, (function)create_w},
};

/* Another thread of the parent may have held it. */
static void free_naming_in_child(void) { pthread_mutex_init(&naming, NULL); }

static pthread_once_t forking = PTHREAD_ONCE_INIT;
static void watch_forks(void) { pthread_atfork(NULL, NULL, free_naming_in_child); }

/* Set the functions of one module of NVTX; return whether it has the module. */
static int set_functions(
    const callbacks_table *callbacks, int module, const entry *entries, size_t count) {
    function **table = NULL;
    unsigned int size = 0;
    if (!callbacks->get_module_function_table(module, &table, &size) || table == NULL) return 0;
    for (size_t at = 0; at < count; at++)
        if (entries[at].at < size && table[entries[at].at] != NULL)
            *table[entries[at].at] = entries[at].call;
    return 1;
}

/* Called by each library that was built with NVTX, at its first NVTX call. */
__attribute__((visibility("default")))
int InitializeInjectionNvtx2(get_export_table get) {
    const callbacks_table *callbacks = get != NULL ? get(EXPORT_TABLE_CALLBACKS) : NULL;
    if (callbacks == NULL || callbacks->struct_size < sizeof *callbacks || !ring_open()) return 0;
    pthread_once(&forking, watch_forks);
    int known = set_functions(callbacks, MODULE_CORE, core, sizeof core / sizeof *core);
    set_functions(callbacks, MODULE_CORE2, core2, sizeof core2 / sizeof *core2);
    return known;
}
