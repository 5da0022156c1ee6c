/* Uses NVTX without Python and CUDA. `program` makes a few ranges, `program N` times N of them. */
#include <nvtx3/nvToolsExt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static nvtxDomainHandle_t domain;
static nvtxRangeId_t crossing;

static void *other(void *unused) {
    (void)unused;
    nvtxDomainRangeEnd(domain, crossing);
    nvtxRangePushA("in a thread");
    nvtxRangePop();
    return NULL;
}

static double measured(long count) {
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long at = 0; at < count; at++) {
        nvtxRangePushA("measured");
        nvtxRangePop();
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    return ((end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec)) / count;
}

static void pause_ms(long ms) {
    struct timespec span = {.tv_nsec = ms * 1000000};
    nanosleep(&span, NULL);
}

int main(int count, char **words) {
    if (count > 1) {
        double least = 1e9;
        for (int trial = 0; trial < 20; trial++) {
            double took = measured(atol(words[1]));
            least = took < least ? took : least;
            pause_ms(50);
        }
        printf("%.1f\n", least);
        return 0;
    }
    domain = nvtxDomainCreateA("engine");
    nvtxDomainNameCategoryA(domain, 7, "decoding");
    nvtxEventAttributes_t attributes = {0};
    attributes.version = NVTX_VERSION;
    attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    attributes.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
    attributes.message.registered = nvtxDomainRegisterStringA(domain, "registered");
    attributes.category = 7;
    attributes.payloadType = NVTX_PAYLOAD_TYPE_UNSIGNED_INT64;
    attributes.payload.ullValue = 1ull << 63;
    int outer = nvtxDomainRangePushEx(domain, &attributes);
    int inner = nvtxRangePushW(L"gr\u00fcn");
    int deeper = nvtxRangePushA("deeper");
    pause_ms(2);
    printf("%d %d %d %d %d\n", outer, inner, deeper, nvtxDomainRangePop(domain), nvtxRangePop());
    nvtxRangePop();
    printf("%d\n", nvtxRangePop() < 0);
    attributes.category = 9;
    attributes.payloadType = NVTX_PAYLOAD_TYPE_FLOAT;
    attributes.payload.fValue = 0.25f;
    nvtxDomainMarkEx(domain, &attributes);
    attributes.payloadType = NVTX_PAYLOAD_UNKNOWN;
    attributes.category = 0;
    crossing = nvtxDomainRangeStartEx(domain, &attributes);
    pthread_t thread;
    pthread_create(&thread, NULL, other, NULL);
    pthread_join(thread, NULL);
    fflush(stdout);
    if (fork() == 0) {
        attributes.payloadType = NVTX_PAYLOAD_TYPE_INT32;
        attributes.payload.iValue = -5;
        nvtxDomainRangePushEx(domain, &attributes);
        nvtxDomainRangePop(domain);
        nvtxRangePushA("only in the child");
        nvtxRangePop();
        pause_ms(900);
        _exit(0);
    }
    wait(NULL);
    return 0;
}
