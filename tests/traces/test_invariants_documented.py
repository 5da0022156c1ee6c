"""Every invariant is described in the documentation."""

from perfscope.traces.validation.checks import CHECKS
from perfscope.traces.validation.invariants import INVARIANTS
from tests.conventions.sources import ROOT


def test_every_invariant_is_documented_and_every_check_has_one() -> None:
    text = (ROOT / "docs" / "verdict.md").read_text()
    assert [name for name in INVARIANTS if f"| `{name}` |" not in text] == []
    assert set(CHECKS) <= set(INVARIANTS)
    assert all(0.0 < invariant.trust < 1.0 for invariant in INVARIANTS.values())
