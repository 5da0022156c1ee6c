"""Columns of the table `ranges`, from the records of the probe."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from perfscope.traces.run_folder import events
from perfscope.traces.run_folder.tables import with_gradient_mode, with_logs_apart

FORWARD, OPTIMIZER = events.FORWARD, events.OPTIMIZER


def test_a_forward_pass_in_training_mode_without_gradients_has_its_own_value() -> None:
    rows = pd.DataFrame({"kind": [FORWARD] * 3 + [OPTIMIZER], "v2": [1, 0, 0, 0]})
    values = with_gradient_mode(rows, pd.Series([1, 1, 0, 1]))
    assert list(values) == [1, 2, 0, 1]


@pytest.mark.parametrize(("syncs", "category"), [(8, "fsync"), (2, "checkpoint")])
def test_fsync_in_most_steps_is_a_log(syncs: int, category: str) -> None:
    kinds = ["optimizer"] * 10 + ["checkpoint"] * (syncs + 1)
    names = ["SGD"] * 10 + ["os.fsync"] * syncs + ["torch.save"]
    columns: dict[str, Any] = {
        "category": np.array(kinds, object),
        "name": np.array(names, object),
        "process": np.zeros(len(kinds), np.int64),
    }
    changed = with_logs_apart(columns)
    assert set(changed[10:-1]) == {category}
    assert changed[-1] == "checkpoint"
