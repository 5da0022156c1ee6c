"""Callback for the Hugging Face `Trainer`: `Trainer(..., callbacks=[PerfscopeCallback()])`."""

from typing import Any

from transformers import TrainerCallback

from perfscope.profiling.scope import Scope, profile


class PerfscopeCallback(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Records from the beginning of `train()` to its end.

    The arguments are those of `perfscope.profile()`; `scope` has the result.
    """

    def __init__(self, **options: Any) -> None:
        self.scope: Scope = profile(**options)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.scope.__enter__()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.scope.__exit__(None, None, None)
