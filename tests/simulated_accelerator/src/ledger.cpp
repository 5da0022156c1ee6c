#include "ledger.h"

#include <algorithm>
#include <cstdio>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../substitute_nvml/live.h"

namespace sim {
namespace {

std::vector<Span> merged(std::vector<Span> spans)
{
    std::sort(spans.begin(), spans.end(),
              [](const Span &a, const Span &b) { return a.start < b.start; });
    std::vector<Span> result;
    for (const Span &span : spans) {
        if (!result.empty() && span.start <= result.back().end)
            result.back().end = std::max(result.back().end, span.end);
        else
            result.push_back(span);
    }
    return result;
}

/* The time that the union of some spans covers between two instants. */
Ns covered(const std::vector<Span> &spans, Ns from, Ns to)
{
    Ns sum = 0;
    for (const Span &span : merged(spans))
        sum += std::max<Ns>(0, std::min(span.end, to) - std::max(span.start, from));
    return sum;
}

void forget(std::vector<Span> &spans, Ns before)
{
    spans.erase(std::remove_if(spans.begin(), spans.end(),
                               [before](const Span &span) { return span.end <= before; }),
                spans.end());
}

/* The mapped file of the substitute driver, null without one. */
LiveCounters *live()
{
    static LiveCounters *mapped = [] {
        const std::string &path = settings().counters;
        int file = path.empty() ? -1 : open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (file < 0 || ftruncate(file, sizeof(LiveCounters)) != 0)
            return static_cast<LiveCounters *>(nullptr);
        void *at = mmap(nullptr, sizeof(LiveCounters), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        close(file);
        return at == MAP_FAILED ? nullptr : static_cast<LiveCounters *>(at);
    }();
    return mapped;
}

/* Changes the shared counters so that a reader can tell that it read half of a change. */
class Change {
  public:
    explicit Change(LiveCounters *counters) : counters_(counters) { bump(); }
    ~Change() { bump(); }

  private:
    void bump() { __atomic_add_fetch(&counters_->version, 1, __ATOMIC_SEQ_CST); }
    LiveCounters *counters_;
};

/* Spans stay in order and disjoint: those that end after the new one begins are merged with it. */
void show_busy(LiveCounters *counters, Span added)
{
    Change change(counters);
    std::vector<Span> last{added};
    while (counters->count && last.size() < 64) {
        const LiveSpan &span = counters->spans[(counters->count - 1) % LIVE_SPANS];
        if (span.end_ns < added.start)
            break;
        last.push_back({span.start_ns, span.end_ns});
        counters->count--;
    }
    for (const Span &span : merged(last)) {
        int64_t before = 0;
        if (counters->count) {
            const LiveSpan &previous = counters->spans[(counters->count - 1) % LIVE_SPANS];
            before = previous.busy_before_ns + previous.end_ns - previous.start_ns;
        }
        counters->spans[counters->count++ % LIVE_SPANS] = {span.start, span.end, before};
    }
}

} // namespace

void Ledger::ran(Kind kind, Ns start, Ns end)
{
    if (!settings().ledger.empty())
        (kind == Kind::Kernel ? kernels_ : copies_).push_back({start, end});
    if (kind == Kind::Kernel && live())
        show_busy(live(), {start, end});
}

void Ledger::show_memory(int64_t used)
{
    if (live())
        live()->memory_used = used;
}

void Ledger::waited(WaitFor what, Ns start, Ns end)
{
    if (end > start && !settings().ledger.empty())
        waits_[static_cast<int>(what)].push_back({start, end});
}

void Ledger::end_step(Ns now)
{
    static FILE *file = settings().ledger.empty() ? nullptr : fopen(settings().ledger.c_str(), "w");
    if (file == nullptr)
        return;
    if (last_) {
        std::vector<Span> both = kernels_;
        both.insert(both.end(), copies_.begin(), copies_.end());
        Ns kernel = covered(kernels_, last_, now), busy = covered(both, last_, now);
        fprintf(file,
                "{\"step\": %ld, \"start_ns\": %ld, \"end_ns\": %ld, \"kernel_ns\": %ld, "
                "\"copy_ns\": %ld, \"exposed_copy_ns\": %ld, \"idle_ns\": %ld, "
                "\"device_wait_ns\": %ld, \"copy_wait_ns\": %ld, \"queue_wait_ns\": %ld, "
                "\"launches\": %ld}\n",
                step_, last_, now, kernel, covered(copies_, last_, now), busy - kernel,
                now - last_ - busy, covered(waits_[0], last_, now), covered(waits_[1], last_, now),
                covered(waits_[2], last_, now), launches_);
        fflush(file);
    }
    for (auto *spans : {&kernels_, &copies_, &waits_[0], &waits_[1], &waits_[2]})
        forget(*spans, now);
    launches_ = 0;
    last_ = now;
    step_++;
}

} // namespace sim
