/* Graphs: torch.accelerator.Graph. Unlike CUDA, capturing computes the values once. */
#include <ATen/core/GraphImplInterface.h>

#include <memory>
#include <mutex>
#include <thread>

#include "operators.h"
#include "runtime.h"

namespace sim {
namespace {

struct Node {
    Work work;
    std::function<void()> compute;
};

struct Capture {
    int stream;
    std::thread::id thread;
    at::GraphCaptureMode mode;
    bool is_valid = true;
    std::vector<Node> nodes;
};

std::mutex &mutex = *new std::mutex;
std::unique_ptr<Capture> &capture = *new std::unique_ptr<Capture>; /* one at a time */

} // namespace

bool is_capturing()
{
    std::lock_guard lock(mutex);
    return capture && capture->thread == std::this_thread::get_id() &&
           capture->stream == current_stream();
}

void capture_node(Work work, std::function<void()> compute)
{
    std::lock_guard lock(mutex);
    capture->nodes.push_back({std::move(work), std::move(compute)});
}

void forbid_while_capturing(const char *what)
{
    std::lock_guard lock(mutex);
    if (!capture)
        return;
    bool is_own_thread = capture->thread == std::this_thread::get_id();
    bool is_own_stream = is_own_thread && capture->stream == current_stream();
    bool is_allowed = capture->mode == at::GraphCaptureMode::Relaxed       ? !is_own_stream
                      : capture->mode == at::GraphCaptureMode::ThreadLocal ? !is_own_thread
                                                                           : false;
    if (is_allowed)
        return;
    capture->is_valid = false;
    TORCH_CHECK(false, "SIM error: operation not permitted when a stream is capturing: ", what);
}

struct Graph final : at::GraphImplInterface {
    explicit Graph(const at::GraphImplArgs &) {}

    void capture_begin(at::MempoolId_t, at::GraphCaptureMode mode) override
    {
        std::lock_guard lock(mutex);
        TORCH_CHECK(!capture, "SIM error: a stream is being captured already");
        capture.reset(new Capture{current_stream(), std::this_thread::get_id(), mode});
    }
    void capture_end() override
    {
        std::lock_guard lock(mutex);
        TORCH_CHECK(capture, "SIM error: no stream is being captured");
        std::unique_ptr<Capture> ended = std::move(capture);
        TORCH_CHECK(ended->is_valid, "SIM error: operation failed due to a previous error during "
                                     "capture");
        nodes_ = std::move(ended->nodes);
    }
    void instantiate() override {}
    void replay() override
    {
        std::vector<Work> work;
        for (Node &node : nodes_) {
            if (node.compute)
                node.compute();
            work.push_back(node.work);
        }
        if (!work.empty())
            submit_graph(current_stream(), work);
    }
    void reset() override { nodes_.clear(); }
    at::MempoolId_t pool() const override { return {0, 1}; }
    void enable_debug_mode() override {}
    void debug_dump(const std::string &) override {}

  private:
    std::vector<Node> nodes_;
};

} // namespace sim

namespace at {
/* The key is the name of the device in capitals. */
REGISTER_GRAPH_IMPL(SIM, sim::Graph)
} // namespace at
