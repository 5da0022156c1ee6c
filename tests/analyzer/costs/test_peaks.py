"""Peaks of accelerators: known by the whole name, unknown for a part of a device and for other
products.
"""

import re

import pytest

from perfscope.analyzer.hardware.device_products import device_peaks, device_products
from perfscope.analyzer.hardware.peaks import Peaks

GB = 10**9


@pytest.mark.parametrize(
    ("name", "kind", "units", "memory", "bfloat16"),
    [
        ("NVIDIA H100 80GB HBM3", "cuda", 132, 85 * GB, 989.4),
        ("NVIDIA H100 PCIe", "cuda", 114, 85 * GB, 756),
        ("NVIDIA A100-SXM4-80GB", "cuda", 108, 85 * GB, 312),
        ("NVIDIA GeForce RTX 4090", "cuda", -1, -1, 165.2),
        ("AMD Instinct MI300X VF", "hip", 304, 206 * GB, 1307.4),
        ("", "hip", 304, 206 * GB, 1307.4),  # recognized by its units and memory
        ("", "cuda", 132, 85 * GB, 989.4),  # an H100 or an H800: they differ in float64 only
        ("NVIDIA A100-PG509-200", "cuda", 108, 42 * GB, 312),  # known by its size
        ("NVIDIA H20", "cuda", 78, 103 * GB, 148),
    ],
)
def test_a_known_device_has_its_peaks(
    name: str, kind: str, units: int, memory: int, bfloat16: float
) -> None:
    found = device_peaks(name, kind, units, memory)
    assert isinstance(found, Peaks)
    assert found.flops_per_s("bfloat16", matrix=True) == bfloat16 * 1e12


@pytest.mark.parametrize(
    ("name", "kind", "units", "memory"),
    [
        ("NVIDIA GeForce RTX 3090 Ti", "cuda", 84, 24 * GB),  # another product
        ("NVIDIA A100-SXM4-80GB MIG 3g.40gb", "cuda", 42, 40 * GB),
        (
            "NVIDIA A100-SXM4-80GB",
            "cuda",
            42,
            40 * GB,
        ),  # a part of the device, with the name of the whole
        ("NVIDIA A100-PG509-200", "cuda", -1, -1),
        ("NVIDIA GeForce RTX 4090 D", "cuda", 132, 85 * GB),  # the size of another family
        ("AMD Radeon Graphics", "hip", 104, 68 * GB),
        ("", "cuda", -1, -1),
        ("", "hip", 304, 1 * GB),
        ("", "cuda", 132, 151 * GB),  # an H200's or a GH200's
        ("ARTEMIS", "mtia", -1, -1),
    ],
)
def test_unknown_devices_have_a_reason_instead_of_peaks(
    name: str, kind: str, units: int, memory: int
) -> None:
    assert isinstance(device_peaks(name, kind, units, memory), str)


def test_float32_products_may_run_in_tf32_and_halves_compute_elsewhere_in_float32() -> None:
    found = device_peaks("NVIDIA H100 80GB HBM3", "cuda", 132, -1)
    assert isinstance(found, Peaks)
    assert found.flops_per_s("float32", matrix=True) == 494.7e12
    assert (
        found.flops_per_s("bfloat16", matrix=False)
        == found.flops_per_s("float32", matrix=False)
        == 67e12
    )
    assert found.ridge("bfloat16", matrix=True) == pytest.approx(989.4e12 / 3350e9)


@pytest.mark.parametrize(
    ("name", "vector", "matrix"),
    [
        ("NVIDIA A100-SXM4-80GB", 9.7, 19.5),
        ("NVIDIA H100 80GB HBM3", 34, 67),
        ("AMD Instinct MI300X", 81.7, 163.4),
        ("AMD Instinct MI250X", 23.95, 47.9),
        ("Tesla V100-SXM2-32GB", 7.8, 7.8),
    ],
)
def test_matrix_units_multiply_float64_at_a_rate_of_their_own(
    name: str, vector: float, matrix: float
) -> None:
    found = device_peaks(name, "", -1, -1)
    assert isinstance(found, Peaks)
    assert found.flops_per_s("float64", matrix=False) == vector * 1e12
    assert found.flops_per_s("float64", matrix=True) == matrix * 1e12


def test_every_product_has_sources_and_a_name_that_no_other_product_matches() -> None:
    for product in device_products():
        assert product.sources and product.memory_gb_per_s > 0 and product.tera_per_s
        plain = [pattern for pattern in product.called if not re.search(r"[\\(\[]", pattern)]
        for name in (pattern.replace("?", "") for pattern in plain):
            for other in device_products():
                matches = any(re.fullmatch(pattern, name) for pattern in other.called)
                assert not matches or other is product, name
