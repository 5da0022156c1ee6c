"""Advice: a change that a finding can recommend, and what must hold before it is recommended."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from perfscope.analyzer.diagnosis import Action, Precondition, Prediction, Speedup

NS_PER_MS = 1e6


@dataclass(frozen=True)
class Advice:
    """A change that a finding recommends where its precondition holds in the recording.

    `id` is unique among all advice. `text` is the default text, `precondition` the id of the
    predicate, `holds_when` one sentence for the documentation: what the predicate requires.
    """

    id: str
    text: str
    precondition: str
    holds_when: str

    def given(
        self, holds: bool, evidence: str, *, text: str | None = None, snippet: str | None = None
    ) -> list[Action]:
        """Return the action where the precondition holds, an empty list where it does not.

        `evidence` is what this recording shows of the precondition, with its number.
        """
        if not holds:
            return []
        return [
            Action(
                text=text if text is not None else self.text,
                snippet=snippet,
                id=self.id,
                precondition=Precondition(self.precondition, evidence),
            )
        ]


def predict_step_time(
    actions: Sequence[Action], step_ns: float, speedup: Speedup | None
) -> list[Action]:
    """Return the actions, the first one with the step time that `speedup` predicts.

    Without a likely speedup, or without steps (`step_ns` is 0), nothing is predicted.
    """
    if not actions or speedup is None or speedup.likely is None or speedup.low is None:
        return list(actions)
    if step_ns <= 0.0:
        return list(actions)
    step_ms = step_ns / NS_PER_MS
    prediction = Prediction(
        metric="step_ms",
        before=round(step_ms, 4),
        low=round(step_ms / speedup.high, 4),
        likely=round(step_ms / speedup.likely, 4),
        high=round(step_ms / speedup.low, 4),
    )
    first = msgspec.structs.replace(actions[0], predictions=[prediction])
    return [first, *actions[1:]]
