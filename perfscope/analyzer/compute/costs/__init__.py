"""What operators cost: FLOPs and bytes from shapes and types, a family a file.

A model never guesses: where a shape, a type or an argument is missing there is no cost. Products
follow the convention of `torch.utils.flop_counter` (a multiplication with its addition is two),
which the tests hold them against.
"""

from types import ModuleType

from perfscope.analyzer.compute.costs import (
    attention,
    collectives,
    compiled,
    convolutions,
    elementwise,
    embedding,
    losses,
    matrix_products,
    mixtures,
    movement,
    optimizers,
    recurrent,
    reductions,
    serving,
)
from perfscope.analyzer.compute.costs import normalization as normalisation
from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost

FAMILIES: tuple[ModuleType, ...] = (
    matrix_products,
    convolutions,
    recurrent,
    attention,
    normalisation,
    elementwise,
    reductions,
    losses,
    embedding,
    optimizers,
    movement,
    serving,
    mixtures,
    collectives,
)
MODELS = {
    name: (family, model) for family in reversed(FAMILIES) for name, model in family.MODELS.items()
}

LOOKED_INTO = frozenset(mixtures.MODELS)
"""Operators of whose work only what they allocate tells."""


def has_model(name: str) -> bool:
    """Is there a model for operators of this name?"""
    return name in MODELS or bool(compiled.POINTWISE.match(name))


def family_of(name: str) -> str:
    """The family an operator belongs to, "" for none."""
    found = MODELS.get(name)
    if found is not None:
        return str(found[0].__name__.rpartition(".")[2])
    return "compiled" if compiled.POINTWISE.match(name) else ""


def cost_of(call: Call) -> Cost | None:
    """The cost of a call, None where there is no model or it lacks something."""
    found = MODELS.get(call.name)
    if found is not None:
        cost: Cost | None = found[1](call)
        return cost
    return compiled.fused(call) if compiled.POINTWISE.match(call.name) else None
