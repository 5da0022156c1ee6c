"""Builds the tables of requests from the records of the probe: requests, token_gaps."""

from typing import Final

import numpy as np
import pandas as pd

from perfscope.traces.run_folder import events
from perfscope.traces.trace import make_table

KEYS: Final = ["process", "v6", "v0"]
"""Process, source and number of a request, in records of kind REQUEST."""
SOURCES: Final = {0: "code", 1: "handler", 2: "generate"}
GENERATE: Final = 2


def request_table(records: pd.DataFrame) -> pd.DataFrame:
    """Return table `requests`: those that end in the recording, and those that only begin in it."""
    ended = records[records["kind"] == events.REQUEST]
    ended = ended[ended["v6"].isin(list(SOURCES))]
    begun = records[records["kind"] == events.REQUEST_BEGIN]
    begun = begun.assign(v6=begun["v1"], v1=-1, v2=-1, v3=0, v4=1, v5=-1)
    begun = begun[begun["v6"].isin(list(SOURCES))].assign(dur=-1)
    has_ended = pd.MultiIndex.from_frame(begun[KEYS]).isin(pd.MultiIndex.from_frame(ended[KEYS]))
    unfinished = begun[~has_ended]
    rows = pd.concat([ended, unfinished]).sort_values("ts", kind="stable", ignore_index=True)
    facts = generation_facts(records, rows)
    is_whole = (rows["v4"] == 1).to_numpy()
    is_finished = (rows["dur"] >= 0).to_numpy()
    states = [~is_finished, ~is_whole, (rows["v3"] == 1).to_numpy()]
    state = np.select(states, ["unfinished", "began-before", "failed"], "complete")
    return make_table(
        "requests",
        {
            "process": rows["process"],
            "tid": rows["tid"],
            "ts": rows["ts"],
            "dur": np.where(is_whole & is_finished, rows["dur"], -1),
            "number": rows["v0"],
            "source": rows["v6"].map(SOURCES),
            "state": state,
            "first_token_ns": rows["v1"],
            "tokens": rows["v2"],
            "end_tid": rows["v5"],
            **facts,
        },
    )


def generation_facts(records: pd.DataFrame, requests: pd.DataFrame) -> dict[str, pd.Series]:
    """Return what is known of the calls of `generate` among the requests, -1 for others."""
    known = records[records["kind"] == events.GENERATION].assign(v6=GENERATE)
    known = known.drop_duplicates(KEYS).set_index(KEYS)
    keys = pd.MultiIndex.from_frame(requests[KEYS])
    names = {"rows": "v1", "prompt_tokens": "v2", "kv_bytes": "v3"}
    return {
        name: known[value].reindex(keys).fillna(-1).astype("int64").reset_index(drop=True)
        for name, value in names.items()
    }


def token_gap_table(records: pd.DataFrame) -> pd.DataFrame:
    """Return table `token_gaps`."""
    rows = records[records["kind"] == events.REQUEST_TOKENS]
    rows = rows[rows["v1"] > 0].sort_values("ts", kind="stable", ignore_index=True)
    columns = {name: rows[name] for name in ("process", "tid", "ts", "dur")}
    source = np.where(rows["v2"] == GENERATE, SOURCES[GENERATE], SOURCES[0])
    values = {"number": rows["v0"], "tokens": rows["v1"], "source": source}
    return make_table("token_gaps", {**columns, **values})
