"""The Python half of the simulated device: what torch looks for in `torch.sim`.

`import torch` loads this module, as it does any device that is installed as an entry point of the
group `torch.backends`.
"""

import sys
import types
from pathlib import Path

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils import backend_registration

NAME = "sim"
LIBRARY = Path(__file__).with_name("libsim.so")


def load() -> None:
    """Make the device known to torch under the name "sim"."""
    backend_registration.rename_privateuse1_backend(NAME)
    torch.ops.load_library(LIBRARY)
    module = device_module()
    torch._register_device_module(NAME, module)
    sys.modules[f"torch.{NAME}"] = module
    backend_registration.generate_methods_for_privateuse1_backend()
    # A step of the ledger ends with a step of an optimizer.
    register_optimizer_step_post_hook(
        lambda *_: torch.ops.sim.end_step(),
    )


def device_module() -> types.ModuleType:
    """Return `torch.sim`: seeds and AMP, and what torch asks no C++ hook for."""
    module = types.ModuleType(f"torch.{NAME}")
    generator = torch.default_generator  # values come from the CPU's generator
    functions = {
        "is_available": lambda: True,
        "is_initialized": torch.ops.sim.is_used,
        "_is_in_bad_fork": lambda: False,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "device": torch.accelerator.device_index,
        "synchronize": torch.accelerator.synchronize,
        "current_stream": torch.accelerator.current_stream,
        "get_device_name": lambda device=None: "Simulated accelerator",
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
        "get_rng_state": lambda device=None: generator.get_state(),
        "set_rng_state": lambda state, device=None: generator.set_state(state),
        "get_amp_supported_dtype": lambda: [torch.bfloat16, torch.float16],
        "Stream": torch.Stream,
        "Event": torch.Event,
    }
    for name, function in functions.items():
        setattr(module, name, function)
    return module
