/* Uses NVTX in the ways that are allowed and rare. Each word of the command line is one of them. */
#include <nvtx3/nvToolsExt.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_key_t late;

/* The names of a forked child, registered before its first range. */
static void child_names(void) {
    nvtxRangePushA("first");
    nvtxRangePop();
    fflush(stdout);
    if (fork() == 0) {
        nvtxDomainRegisterStringA(NULL, "string of the child");
        nvtxNameCategoryA(3, "category of the child");
        nvtxDomainRangePushEx(nvtxDomainCreateA("domain of the child"), NULL);
        _exit(0);
    }
    wait(NULL);
    for (int at = 0; at < 5; at++) {
        nvtxRangePushA("name of the parent");
        nvtxRangePop();
    }
}

/* NULL in the place of each text. */
static void nulls(void) {
    nvtxEventAttributes_t attributes = {0};
    attributes.version = NVTX_VERSION;
    attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    attributes.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
    attributes.message.registered = NULL;
    nvtxDomainHandle_t domain = nvtxDomainCreateA(NULL);
    nvtxDomainCreateW(NULL);
    nvtxDomainRegisterStringA(domain, NULL);
    nvtxDomainRegisterStringW(domain, NULL);
    nvtxNameCategoryA(1, NULL);
    nvtxNameCategoryW(2, NULL);
    nvtxDomainNameCategoryA(domain, 3, NULL);
    nvtxDomainNameCategoryW(domain, 4, NULL);
    nvtxRangePushA(NULL);
    nvtxRangePushW(NULL);
    nvtxRangePushEx(&attributes);
    for (int at = 0; at < 3; at++) nvtxRangePop();
    nvtxMarkA(NULL);
    nvtxRangeEnd(nvtxRangeStartA(NULL));
}

static void called_late(void *value) {
    static __thread int round;
    nvtxRangePushA("in a destructor");
    nvtxRangePop();
    if (++round < 3) pthread_setspecific(late, value); /* again, after the library's destructor */
}

static void *thread(void *unused) {
    nvtxRangePushA("in a thread");
    nvtxRangePop();
    pthread_setspecific(late, &late);
    return unused;
}

/* Calls of a destructor that runs after the library has freed the stack of the thread. */
static void late_calls(void) {
    pthread_key_create(&late, called_late);
    for (int at = 0; at < 50; at++) {
        pthread_t made;
        pthread_create(&made, NULL, thread, NULL);
        pthread_join(made, NULL);
    }
}

int main(int count, char **words) {
    for (int at = 1; at < count; at++) {
        if (strcmp(words[at], "child") == 0) child_names();
        if (strcmp(words[at], "nulls") == 0) nulls();
        if (strcmp(words[at], "late") == 0) late_calls();
        printf("%s\n", words[at]);
    }
    fflush(stdout);
    usleep(900000);
    return 0;
}
