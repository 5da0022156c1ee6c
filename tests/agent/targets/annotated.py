"""A training loop with NVTX ranges of the nvtx package: `annotated.py OUT`.

Writes one line per step to OUT: the step number, and whether a function of nvtx is patched.
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
    with nvtx.annotate("part", domain="domain", category="loading", payload=step):
        nvtx.push_range("inner")
        time.sleep(0.005)
        nvtx.pop_range()
    nvtx.mark("mark")
    parameter.sum().backward()
    optimizer.step()
    functions = (nvtx.push_range, nvtx.nvtx.mark, nvtx.annotate.__enter__)
    patched = [hasattr(function, "__wrapped__") for function in functions]
    out.write(f"{step} {any(patched)}\n")
    step += 1
