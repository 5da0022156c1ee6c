/* Accounting of the device's and the host's time: the truth that tests compare a diagnosis with. */
#pragma once

#include "device.h"

namespace sim {

struct Span {
    Ns start, end;
};

enum class WaitFor { Device, Copy, Room }; /* the host waits for the device, a copy, a full queue */

class Ledger {
  public:
    void ran(Kind kind, Ns start, Ns end);
    void waited(WaitFor what, Ns start, Ns end);
    void launched() { launches_++; }
    void end_step(Ns now);
    void show_memory(int64_t used);

  private:
    std::vector<Span> kernels_, copies_, waits_[3];
    int64_t launches_ = 0, step_ = 0;
    Ns last_ = 0;
};

} // namespace sim
