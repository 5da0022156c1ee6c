"""Actions are given by preconditions, and carry the step time that they lead to."""

from collections import defaultdict

import pytest

from perfscope.analyzer.advice import Advice, predict_step_time
from perfscope.analyzer.diagnosis import Finding, Speedup
from perfscope.analyzer.findings import FINDINGS
from perfscope.analyzer.host import gc_pause
from perfscope.analyzer.input import input_bound
from perfscope.analyzer.limits import LIMITS
from perfscope.traces.trace import Trace
from tests.analyzer.loop import Loop
from tests.analyzer.pipelines import pipeline

ADVICE = Advice("use-more", "use more", "there-is-more", "There is more of it.")


def action_ids(finding: Finding) -> list[str]:
    return [action.id for action in finding.actions]


def collecting(generation: int) -> Trace:
    loop = Loop()
    for _ in range(50):
        loop.next().work().call("gc", 2, object=generation, value=10)
    return loop.trace()


def test_an_action_is_given_only_where_its_precondition_holds() -> None:
    assert ADVICE.given(False, "0 of it") == []
    (action,) = ADVICE.given(True, "3 of it", snippet="use(3)")
    assert (action.id, action.text, action.snippet) == ("use-more", "use more", "use(3)")
    assert action.precondition is not None
    assert (action.precondition.id, action.precondition.evidence) == ("there-is-more", "3 of it")


def test_the_first_action_predicts_the_step_time() -> None:
    actions = [*ADVICE.given(True, "1"), *ADVICE.given(True, "2")]
    first, second = predict_step_time(actions, 20e6, Speedup(1.0, 2.0, 4.0))
    (prediction,) = first.predictions
    assert prediction.metric == "step_ms" and prediction.before == 20.0
    assert (prediction.low, prediction.likely, prediction.high) == (5.0, 10.0, 20.0)
    assert second.predictions == []


@pytest.mark.parametrize("speedup", [None, Speedup(None, None, 2.0)])
def test_a_ceiling_predicts_nothing(speedup: Speedup | None) -> None:
    (action,) = predict_step_time(ADVICE.given(True, "1"), 20e6, speedup)
    assert action.predictions == []


def test_ids_of_advice_are_unique() -> None:
    by_id: dict[str, set[Advice]] = defaultdict(set)
    for rule in FINDINGS:
        for advice in rule.advice:
            by_id[advice.id].add(advice)
    assert [name for name, several in by_id.items() if len(several) > 1] == []


def test_an_action_can_be_read_without_the_one_before_it() -> None:
    """Each action has a precondition of its own, so the one before it may be absent."""
    texts = [advice.text for rule in FINDINGS for advice in rule.advice]
    assert texts
    assert not [text for text in texts if text.startswith(("or ", "then "))]


def test_a_finding_predicts_the_step_time_of_its_speedup() -> None:
    finding = input_bound.detect(pipeline(wait=10, fetch={"wall": 40, "cpu": 1}), LIMITS)
    assert finding is not None and finding.speedup is not None
    assert action_ids(finding) == ["add-loader-workers"]
    (prediction,) = finding.actions[0].predictions
    assert prediction.before == pytest.approx(20.0, rel=0.01)
    assert prediction.likely == pytest.approx(prediction.before / 2.222, rel=1e-3)
    assert prediction.low <= prediction.likely <= prediction.high


def test_freezing_is_recommended_only_where_old_generations_are_collected() -> None:
    young, old = (gc_pause.detect(collecting(generation), LIMITS) for generation in (0, 2))
    assert young is not None and action_ids(young) == ["collect-by-hand"]
    assert old is not None
    assert action_ids(old) == ["freeze-long-lived-objects", "collect-by-hand"]
