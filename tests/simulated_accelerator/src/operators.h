/* Capture of graphs, as operators see it. */
#pragma once

#include <functional>

#include "device.h"

namespace sim {

/* Add work to the graph that this thread captures, with the function that computes its values. */
void capture_node(Work work, std::function<void()> compute);

} // namespace sim
