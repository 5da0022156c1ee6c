"""Callback for the Lightning `Trainer`: `Trainer(..., callbacks=[PerfscopeCallback()])`.

It works with both `lightning` and `pytorch_lightning`.
"""

import sys
from importlib import import_module
from typing import Any

from perfscope.profiling.scope import Scope, profile

NAMES = ("lightning.pytorch", "pytorch_lightning")
library = import_module(next((name for name in NAMES if name in sys.modules), NAMES[0]))


class PerfscopeCallback(library.Callback):  # type: ignore[misc,name-defined]
    """Records from the start of training to the end of `fit()`, even if that raises.

    The arguments are those of `perfscope.profile()`; `scope` has the result.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.scope: Scope = profile(**options)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.scope.__enter__()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.end()

    def end(self) -> None:
        """End the recording, unless it has ended already."""
        if self.scope.depth:
            self.scope.__exit__(None, None, None)
