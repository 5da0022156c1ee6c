#define _GNU_SOURCE
#include "ring.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <wchar.h>

/* What agent/nvtx/ring.py reads: a page of counters, the slots, the names. */
#define SLOTS 65536u
#define NAMES_BYTES (1u << 21)
#define HEADER_BYTES 4096u
#define TABLE 32768u
#define MOST_NAMES (TABLE / 2)
#define LONGEST_NAME 1000u
#define CALL_WITHIN_S 1

typedef struct {
    _Atomic uint64_t number; /* of the record it holds, from 1 */
    int64_t values[WIDTH];
} slot;

typedef struct {
    _Alignas(64) _Atomic uint64_t head; /* records begun */
    _Alignas(64) _Atomic uint64_t tail; /* records taken by the agent */
    _Alignas(64) _Atomic uint64_t dropped;
    _Alignas(64) _Atomic uint64_t names_bytes;
    _Alignas(64) _Atomic uint64_t off; /* set by the agent when it leaves */
} counters;

typedef struct {
    _Alignas(HEADER_BYTES) counters counters;
    _Alignas(HEADER_BYTES) slot slots[SLOTS];
    _Alignas(HEADER_BYTES) unsigned char names[NAMES_BYTES];
} shared;

typedef struct {
    _Atomic uint64_t hash; /* 0: free */
    int64_t code;
} known;

static _Atomic(shared *) ring;
static _Atomic int forked;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static known table[TABLE];
/* Codes given so far, and their bytes in the shared memory: one word, so that a child forked at any moment has both or none. */
static _Atomic uint64_t names;
#define NAMES_BITS 32
static int connection = -1;
static __thread int64_t tid;

static int64_t names_count(void) { return (int64_t)(atomic_load(&names) >> NAMES_BITS); }
static uint64_t names_bytes(void) { return atomic_load(&names) & ((1ull << NAMES_BITS) - 1); }

/* Anybody can take a name of the abstract namespace once the agent is gone. */
static int is_agent(int made, int pid, unsigned uid) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(made, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == pid && peer.uid == uid;
}

static int call_agent(int file) {
    const char *said = getenv("PERFSCOPE_NVTX");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char token[80], name[sizeof address.sun_path - 1], text[160];
    int agent;
    unsigned user;
    if (said == NULL || sscanf(said, "%100s %64s %d %u", name, token, &agent, &user) != 4) return -1;
    size_t length = strlen(name);
    memcpy(address.sun_path + 1, name, length);
    int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (made < 0) return -1;
    struct timeval limit = {.tv_sec = CALL_WITHIN_S};
    setsockopt(made, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    int size = snprintf(text + 5, sizeof text - 5, "[{\"note\": \"nvtx-ring\", \"token\": \"%s\", \"has_file\": true}]", token);
    text[0] = 'J';
    uint32_t long_ = (uint32_t)size;
    memcpy(text + 1, &long_, sizeof long_);
    struct iovec piece = {.iov_base = text, .iov_len = (size_t)size + 5};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } rights = {{0}};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = rights.room, .msg_controllen = sizeof rights.room};
    struct cmsghdr *right = CMSG_FIRSTHDR(&message);
    right->cmsg_level = SOL_SOCKET;
    right->cmsg_type = SCM_RIGHTS;
    right->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(right), &file, sizeof file);
    socklen_t address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
    if (connect(made, (struct sockaddr *)&address, address_size) != 0 || !is_agent(made, agent, user) ||
        sendmsg(made, &message, MSG_NOSIGNAL) != (ssize_t)piece.iov_len) {
        close(made);
        return -1;
    }
    return made;
}

/* A fresh ring that begins with the names that `old` had told. Held under `lock`. */
static shared *opened(const shared *old) {
    int file = (int)syscall(SYS_memfd_create, "perfscope-nvtx", 1u /* MFD_CLOEXEC */);
    if (file < 0) return NULL;
    shared *made = MAP_FAILED;
    if (ftruncate(file, sizeof(shared)) == 0)
        made = mmap(NULL, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (made == MAP_FAILED) {
        close(file);
        return NULL;
    }
    if (old != NULL) memcpy(made->names, old->names, names_bytes());
    atomic_store(&made->counters.names_bytes, names_bytes());
    connection = call_agent(file);
    close(file);
    if (connection < 0) {
        munmap(made, sizeof(shared));
        return NULL;
    }
    return made;
}

static void in_child(void) {
    pthread_mutex_init(&lock, NULL);
    tid = 0;
    atomic_store(&forked, 1);
}

static void open_once(void) {
    pthread_mutex_lock(&lock);
    atomic_store(&ring, opened(NULL));
    pthread_mutex_unlock(&lock);
    pthread_atfork(NULL, NULL, in_child);
    ring_code("(other names)");
}

int ring_open(void) {
    pthread_once(&once, open_once);
    return atomic_load(&ring) != NULL;
}

/* The parent's ring and connection are not ours. */
static void open_in_child(void) {
    pthread_mutex_lock(&lock);
    if (atomic_load(&forked)) {
        shared *old = atomic_load(&ring);
        if (connection >= 0) close(connection);
        atomic_store(&ring, old != NULL ? opened(old) : NULL);
        if (old != NULL) munmap(old, sizeof(shared));
        atomic_store(&forked, 0);
    }
    pthread_mutex_unlock(&lock);
}

int ring_on(void) {
    if (atomic_load_explicit(&forked, memory_order_relaxed)) open_in_child();
    shared *here = atomic_load_explicit(&ring, memory_order_acquire);
    return here != NULL && !atomic_load_explicit(&here->counters.off, memory_order_relaxed);
}

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t hashed(const char *text, size_t *length) {
    uint64_t hash = 0xcbf29ce484222325u;
    size_t at = 0;
    for (; text[at] != 0 && at < LONGEST_NAME; at++) hash = (hash ^ (unsigned char)text[at]) * 0x100000001b3u;
    *length = at;
    return hash != 0 ? hash : 1;
}

static known *place(uint64_t hash) {
    for (uint64_t at = hash % TABLE;; at = (at + 1) % TABLE) {
        uint64_t here = atomic_load_explicit(&table[at].hash, memory_order_acquire);
        if (here == hash || here == 0) return &table[at];
    }
}

/* Tell the agent a new name. Held under `lock`. */
static int64_t told(shared *here, known *free_, uint64_t hash, const char *text, size_t length) {
    size_t size = (sizeof(uint32_t) + length + 7) / 8 * 8;
    uint64_t at = names_bytes();
    int64_t code = names_count();
    if (code >= MOST_NAMES || at + size > NAMES_BYTES) return 0;
    uint32_t short_ = (uint32_t)length;
    memcpy(here->names + at, &short_, sizeof short_);
    memcpy(here->names + at + sizeof short_, text, length);
    atomic_store(&names, (uint64_t)(code + 1) << NAMES_BITS | (at + size));
    atomic_store_explicit(&here->counters.names_bytes, at + size, memory_order_release);
    free_->code = code;
    atomic_store_explicit(&free_->hash, hash, memory_order_release);
    return free_->code;
}

int64_t ring_code(const char *text) {
    if (text == NULL) return 0;
    size_t length;
    uint64_t hash = hashed(text, &length);
    known *found = place(hash);
    if (atomic_load_explicit(&found->hash, memory_order_acquire) == hash) return found->code;
    pthread_mutex_lock(&lock);
    shared *here = atomic_load(&ring);
    found = place(hash);
    int64_t code = 0;
    if (atomic_load(&found->hash) == hash)
        code = found->code;
    else if (here != NULL)
        code = told(here, found, hash, text, length);
    pthread_mutex_unlock(&lock);
    return code;
}

int64_t ring_code_wide(const wchar_t *text) {
    char narrow[LONGEST_NAME + 8];
    size_t at = 0;
    if (text == NULL) return 0;
    for (; *text != 0 && at < LONGEST_NAME; text++) {
        uint32_t one = (uint32_t)*text;
        if (one < 0x80) {
            narrow[at++] = (char)one;
            continue;
        }
        int more = one < 0x800 ? 1 : one < 0x10000 ? 2 : 3;
        narrow[at++] = (char)((0xFF00 >> (more + 1)) | (one >> 6 * more));
        while (more-- > 0) narrow[at++] = (char)(0x80 | ((one >> 6 * more) & 0x3F));
    }
    narrow[at] = 0;
    return ring_code(narrow);
}

void ring_put(const int64_t record[WIDTH]) {
    shared *here = atomic_load_explicit(&ring, memory_order_acquire);
    if (here == NULL) return;
    counters *count = &here->counters;
    uint64_t head = atomic_load_explicit(&count->head, memory_order_relaxed);
    do {
        if (head - atomic_load_explicit(&count->tail, memory_order_acquire) >= SLOTS) {
            ring_drop();
            return;
        }
    } while (!atomic_compare_exchange_weak_explicit(
        &count->head, &head, head + 1, memory_order_relaxed, memory_order_relaxed));
    slot *mine = &here->slots[head % SLOTS];
    memcpy(mine->values, record, sizeof mine->values);
    atomic_store_explicit(&mine->number, head + 1, memory_order_release);
}

void ring_drop(void) {
    shared *here = atomic_load(&ring);
    if (here != NULL) atomic_fetch_add(&here->counters.dropped, 1);
}

int64_t ring_tid(void) {
    if (tid == 0) tid = syscall(SYS_gettid);
    return tid;
}
