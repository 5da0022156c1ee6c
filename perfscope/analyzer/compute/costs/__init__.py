"""Costs of operators: FLOPs and bytes from shapes and types, one module per family.

A model never guesses: if a shape, a type or an argument is missing, there is no cost. Products
follow the convention of `torch.utils.flop_counter` (a multiplication with its addition is two
operations), and the tests compare them with it.
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
    normalization,
    optimizers,
    recurrent,
    reductions,
    serving,
)
from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost

FAMILIES: tuple[ModuleType, ...] = (
    matrix_products,
    convolutions,
    recurrent,
    attention,
    normalization,
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

NEEDS_ALLOCATIONS = frozenset(mixtures.MODELS)
"""Operators whose cost is computed from the sizes of the buffers that they allocate."""


def has_model(name: str) -> bool:
    """Return whether there is a cost model for operators of this name."""
    return name in MODELS or compiled.is_compiled(name)


def family_name(family: ModuleType) -> str:
    """Return the name of a family, which is that of its module."""
    return family.__name__.rpartition(".")[2]


def family_of(name: str) -> str:
    """Return the family of an operator, "" if it has no model."""
    if name in MODELS:
        family, _ = MODELS[name]
        return family_name(family)
    return "compiled" if compiled.is_compiled(name) else ""


def cost_of(call: Call) -> Cost | None:
    """Return the cost of a call, None without a model or if the model lacks an argument."""
    if call.name in MODELS:
        _, model = MODELS[call.name]
        cost: Cost | None = model(call)
        return cost
    if compiled.is_compiled(call.name):
        return compiled.compiled_kernel_cost(call)
    return None
