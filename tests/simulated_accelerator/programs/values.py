"""Trains models on the device and on the CPU; prints how much their losses and results differ."""

import copy
import json

import torch
from torch import nn

STEPS = 5


class ConvNet(nn.Module):
    """Convolutions, batch norm and pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.ConvTranspose2d(8, 4, 2, stride=2),
            nn.Flatten(),
            nn.Linear(4 * 8 * 8, 5),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Transformer(nn.Module):
    """An embedding and a transformer layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.embedding(tokens)).mean(1))


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.LayerNorm(24), nn.Linear(24, 5))


def losses(model: nn.Module, inputs: torch.Tensor, optimizer: str, device: str) -> list[float]:
    """Return the losses of some training steps."""
    model = copy.deepcopy(model).to(device)
    inputs, labels = inputs.to(device), (torch.arange(len(inputs)) % 5).to(device)
    optim = getattr(torch.optim, optimizer)(model.parameters(), lr=0.01)
    found = []
    for _ in range(STEPS):
        loss = nn.functional.cross_entropy(model(inputs), labels)
        optim.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()
        found.append(loss.item())
    return found


def largest_difference(model: nn.Module, inputs: torch.Tensor, optimizer: str) -> float:
    """Return the largest difference between the losses on the device and on the CPU."""
    on_device = losses(model, inputs, optimizer, "sim")
    on_cpu = losses(model, inputs, optimizer, "cpu")
    return max(abs(loss - expected) for loss, expected in zip(on_device, on_cpu, strict=True))


def operators() -> dict[str, bool]:
    """Return whether some operators give the same results as on the CPU."""
    x = torch.randn(6, 7)
    y = x.to("sim")
    functions = {
        "view": lambda t: t.t()[1:4, ::2].reshape(-1),
        "inplace": lambda t: t.clone().mul_(2).add_(t).relu_(),
        "index": lambda t: t[t > 0].sort().values,
        "put": lambda t: t.clone().index_fill_(0, torch.tensor([1], device=t.device), 5.0),
        "list": lambda t: torch.stack(torch._foreach_add([t, t], 1.0)),
        "out": lambda t: torch.add(t, t, out=torch.empty(0, device=t.device)),
        "factory": lambda t: torch.arange(6, device=t.device)[:, None] * t,
        "reduce": lambda t: torch.cat([t.sum(0), t.max(0).values, t.std(0)]),
        "nonzero": lambda t: (t > 0).nonzero(),
        "double": lambda t: t.double().cumsum(1),
        "attention": lambda t: nn.functional.scaled_dot_product_attention(
            t[None, None], t[None, None], t[None, None]
        ),
    }
    return {
        name: bool(torch.allclose(function(y).cpu(), function(x), atol=1e-6))
        for name, function in functions.items()
    }


def main() -> None:
    """Print the comparison as JSON."""
    torch.manual_seed(0)
    cases = {
        "perceptron SGD": (perceptron(), torch.randn(10, 12), "SGD"),
        "perceptron AdamW": (perceptron(), torch.randn(10, 12), "AdamW"),
        "convolutions": (ConvNet(), torch.randn(10, 3, 8, 8), "SGD"),
        "transformer": (Transformer(), torch.randint(0, 20, (10, 6)), "AdamW"),
    }
    differences = {name: largest_difference(*case) for name, case in cases.items()}
    print(json.dumps({"differences": differences, "operators": operators()}))


if __name__ == "__main__":
    main()
