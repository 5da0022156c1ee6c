/* What connects the parts of the torch device: memory, the current stream, captures. */
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/Storage.h>

#include "device.h"

namespace sim {

constexpr auto DEVICE = c10::DeviceType::PrivateUse1;

int current_stream();
c10::Allocator *device_allocator();
bool is_pinned(const void *address);

/* While one exists, what this thread allocates for the CPU comes from the memory of the device:
 * results of operators that the CPU computes become tensors of the device without a copy. */
class AllocateOnDevice {
  public:
    AllocateOnDevice();
    ~AllocateOnDevice();

  private:
    bool before_;
};
/* The memory of a host tensor, as memory of the device. */
c10::DataPtr share_with_device(const c10::Storage &host);

/* -- capture of graphs -- */

bool is_capturing(); /* on the current stream of this thread */
/* Raise an error, and make the capture invalid, if any thread captures: `what` could wait. */
void forbid_while_capturing(const char *what);

} // namespace sim
