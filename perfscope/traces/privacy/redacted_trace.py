"""A Trace whose file names, arguments, host names and names of ranges are replaced by stable short
hashes.

The Trace is redacted before it is diagnosed, so that every text derived from it is redacted too.
Times, sizes, names of kernels, of torch's operators and of public packages stay.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import numpy as np
import pandas as pd

from perfscope.traces.calibrations import load_calibration
from perfscope.traces.privacy.masked_trace import recode_column
from perfscope.traces.privacy.redacted_text import (
    RANGE_STACK,
    hash_text,
    redact_address,
    redact_argument,
    redact_file,
    redact_group,
    redact_host,
    redact_label,
    redact_library,
    redact_metric_labels,
    redact_operator,
    redact_page_path,
    redact_paths,
    redact_process,
    redact_program_file,
    redact_range,
    redact_setting,
    redact_source_line,
    redact_stack,
    redact_thread,
    redact_user,
    redact_values,
)
from perfscope.traces.run_folder.manifest import Calibration, Manifest
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace

Redaction = Callable[[str], str]

REDACTIONS: Final[Mapping[tuple[str, str], Redaction]] = {
    ("processes", "name"): redact_process,
    ("threads", "name"): redact_thread,
    ("ranks", "source"): redact_file,
    ("ranges", "label"): redact_label,
    ("source_lines", "file"): redact_program_file,
    ("source_lines", "text"): redact_source_line,
    ("stacks", "stack"): redact_stack,
    ("outside_stacks", "stack"): redact_stack,
    ("native_samples", "library"): redact_library,
    ("waits", "thread"): redact_thread,
    ("waits", "target"): redact_file,
    ("waits", "peer"): redact_process,
    ("waits", "stack"): redact_stack,
    ("flight_records", "group"): redact_group,
    ("flight_records", "place"): redact_stack,
    ("ops", "name"): redact_operator,
    ("ops", "concrete"): redact_values,
    ("collectives", "group"): redact_group,
    ("device_processes", "name"): redact_process,
    ("device_processes", "user"): redact_user,
    ("engine_servers", "url"): redact_page_path,
    ("engine_servers", "other_names"): lambda text: hash_text("names", text) if text else text,
    ("engine_settings", "value"): redact_setting,
    ("engine_metrics", "labels"): redact_metric_labels,
}
"""By table and column. `host` and `boot_id` are redacted in every table, names of ranges by their
category.
"""
PUBLIC_CATEGORIES: Final = ("gc", "sync", "overhead", "os", "library", "driver")
"""Categories of ranges whose names the system, CUDA or torch chose."""
SHORTEST_SEARCHED: Final = 4
"""Letters of a text that is searched for in sentences: shorter ones are part of other words."""


def redacted_trace(trace: Trace) -> Trace:
    """Return the trace with its texts redacted; it no longer knows where it was read from."""
    tables = {name: table for name in TABLES if (table := trace.table(name)) is not None}
    sentences = SentenceRedaction(trace)
    absent = {
        name: sentences.redact(trace.why_absent(name)) for name in TABLES if name not in tables
    }
    return Trace(
        {name: redacted_table(name, table) for name, table in tables.items()},
        absent,
        [redacted_manifest(manifest, sentences) for manifest in trace.manifests],
        span_ns=trace.span_ns,
        damaged_records=trace.damaged_records,
        clock_residual_ns=trace.clock_residual_ns,
    )


def redacted_table(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the texts of its columns redacted."""
    changed = {}
    for column in map(str, table.columns):
        redact = redaction_of(name, column)
        if redact is not None:
            names = [redact(text) for text in table[column].cat.categories.astype(str)]
            changed[column] = recode_column(table[column], names)
    if name == "ranges":
        changed["name"] = redacted_range_names(table)
    return table.assign(**changed)


def redaction_of(table: str, column: str) -> Redaction | None:
    """Return how the texts of a column are redacted, None where they stay."""
    if column == "host":
        return redact_host
    if column == "boot_id":
        return lambda text: hash_text("boot", text)
    return REDACTIONS.get((table, column))


def redacted_range_names(ranges: pd.DataFrame) -> "pd.Categorical[str]":
    """Return the names of ranges, redacted where the user's code may have chosen them."""
    names = ranges["name"].cat.categories.astype(str).tolist()
    redacted = [redact_range(name) for name in names]
    place = {name: at for at, name in enumerate(dict.fromkeys([*names, *redacted]))}
    public_code = np.array([*(place[name] for name in names), -1], np.int64)
    redacted_code = np.array([*(place[name] for name in redacted), -1], np.int64)
    codes = ranges["name"].cat.codes.to_numpy()
    has_frames = np.array([*(RANGE_STACK.fullmatch(name) is not None for name in names), False])
    is_public = ranges["category"].isin(PUBLIC_CATEGORIES).to_numpy(bool) & ~has_frames[codes]
    chosen = np.where(is_public, public_code[codes], redacted_code[codes])
    every = pd.Categorical.from_codes(chosen, categories=pd.Index(list(place), dtype=str))
    return every.remove_unused_categories()


def redacted_manifest(manifest: Manifest, sentences: "SentenceRedaction") -> Manifest:
    """Return the manifest with its names, and the sentences in it, redacted."""
    redacted: Manifest = msgspec.convert(msgspec.to_builtins(manifest), Manifest)
    redacted.job_id = hash_text("job", manifest.job_id)
    redacted.host = redact_host(manifest.host)
    redacted.boot_id = hash_text("boot", manifest.boot_id)
    redacted.command = [redact_argument(word) for word in manifest.command]
    redacted.calibration = redacted_calibration(manifest)
    redacted.depth_reason = sentences.redact_optional(manifest.depth_reason)
    redacted.end_reason = sentences.redact_optional(manifest.end_reason)
    redacted.dropped = [sentences.redact(text) for text in manifest.dropped]
    for source in redacted.sources:
        source.reason = sentences.redact_optional(source.reason)
    for device in redacted.devices:
        device.uuid = None if device.uuid is None else hash_text("gpu", device.uuid)
        device.missing = {name: sentences.redact(why) for name, why in device.missing.items()}
    return redacted


def redacted_calibration(manifest: Manifest) -> Calibration | None:
    """Return the calibration of the CPU. One made since the recording is found by the host's name,
    which the redacted trace no longer has, so it is looked up here.
    """
    calibration = manifest.calibration
    if calibration is None and manifest.torch is not None and manifest.host:
        facts = manifest.torch
        calibration = load_calibration(manifest.host, facts.version, facts.intra_op_threads)
    if calibration is None:
        return None
    return msgspec.structs.replace(calibration, host=redact_host(calibration.host))


class SentenceRedaction:
    """Redacts sentences, such as the reason of a failed source: they may quote a host, an argument
    or a path.
    """

    def __init__(self, trace: Trace) -> None:
        replacements: dict[str, str] = {}
        for manifest in trace.manifests:
            for word in manifest.command:
                replacements[word] = redact_argument(word)
                replacements[os.path.basename(word)] = redact_file(os.path.basename(word))
            replacements[manifest.host] = redact_host(manifest.host)
            replacements[manifest.job_id] = hash_text("job", manifest.job_id)
        processes = trace.table("processes")
        if processes is not None:
            for name in processes["name"].cat.categories.astype(str):
                replacements[name] = redact_process(name)
        self.replacements = {
            text: redacted
            for text, redacted in replacements.items()
            if len(text) >= SHORTEST_SEARCHED and text != redacted
        }
        longest_first = sorted(self.replacements, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def redact(self, text: str) -> str:
        """Return the sentence redacted."""
        text = self.pattern.sub(lambda found: self.replacements[found[0]], text)
        return redact_paths(redact_address(text))

    def redact_optional(self, text: str | None) -> str | None:
        """Return the sentence redacted, None if there is none."""
        return None if text is None else self.redact(text)
