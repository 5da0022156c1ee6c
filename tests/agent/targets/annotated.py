"""A loop that speaks NVTX by the nvtx package; one line a step to the file named first: its number,
and what is patched.
"""

import sys
import time

import nvtx
import torch

out = open(sys.argv[1], "w", buffering=1)
parameter = torch.nn.Parameter(torch.ones(4))
optimizer = torch.optim.SGD([parameter], lr=0.1)
step = 0
while True:
    with nvtx.annotate("part", domain="mine", category="loading", payload=step):
        nvtx.push_range("inner")
        time.sleep(0.005)
        nvtx.pop_range()
    nvtx.mark("here")
    parameter.sum().backward()
    optimizer.step()
    patched = [
        hasattr(one, "__wrapped__")
        for one in (nvtx.push_range, nvtx.nvtx.mark, nvtx.annotate.__enter__)
    ]
    out.write(f"{step} {any(patched)}\n")
    step += 1
