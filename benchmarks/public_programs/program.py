"""A program of other people: where it comes from, and how it is started without a network."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

ENDLESS = 100_000
"""More epochs than anybody waits for."""

CLONES = {
    "accelerate": "huggingface/accelerate 16cb6eb80dd9aa8b4df1a63ef57863e455d53b83",
    "cleanrl": "vwxyzjn/cleanrl fe8d8a03c41a7ef5b523e2e354bd01c363e786bb",
    "diffusers": "huggingface/diffusers 58eb52c0803ea9af3abec60841c2a093bdf1f951",
    "dlrm": "facebookresearch/dlrm 090956ee2319ddd349a42232958aefccfe3f7b0a",
    "examples": "pytorch/examples 77f55b912142e11fcfdf5b530231fb9c52f181e8",
    "gpt-fast": "meta-pytorch/gpt-fast 6ecad9b5b6b987d17ac4303965545873d0192086",
    "makemore": "karpathy/makemore 988aa59e4d8fefa526d06f3b453ad116258398d4",
    "minGPT": "karpathy/minGPT 37baab71b9abea1b76ab957409a1cc2fbfba8a26",
    "nanoGPT": "karpathy/nanoGPT 3adf61e154c3fe3fca428ad6bc3818b27a3b8291",
    "pytorch-image-models": (
        "huggingface/pytorch-image-models aa4b5850c1543fa488abf260f18390eda46cf85d"
    ),
    "pytorch_geometric": "pyg-team/pytorch_geometric 5c6461b2305ad068a6d61165b3c55852a11aaa41",
    "speechbrain": "speechbrain/speechbrain 9c826ef3937bac885c8a6ca86c6889a30f256fb5",
    "pytorch-lightning": (
        "Lightning-AI/pytorch-lightning 7f0c3436cd3f6ad3753125672024fc415cbcb414"
    ),
}
"""Repository on GitHub and commit, by the name of the clone."""


@dataclass(frozen=True)
class Program:
    """A program, and how it is started in a clone of its repository."""

    name: str
    folder: str | None
    """Where it is started, as `CLONE/FOLDER`; None for an empty folder."""
    command: str
    """What follows the Python; OUT is a path in a temporary folder, DATA the folder of clones."""
    environment: dict[str, str] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    """The data that it needs, by names in `made_up_data.DATA`."""
    attach_to: str = "started"
    """`started`: the process that was started; `rank`: its first rank; `logged`: the process whose
    pid it writes to OUT.pid.
    """
    warm_up_s: float = 8.0
    """CPU time with torch, children included, after which it trains."""
    about: str = ""
    python: str = "programs"
    """`programs`, or `vllm` for the Python of --vllm-python."""

    @property
    def clone(self) -> str | None:
        """The name of its clone in CLONES."""
        return None if self.folder is None else self.folder.split("/")[0]

    def words(self, clones: Path, scratch: Path) -> list[str]:
        """Return the words of its command."""
        text = self.command.replace("OUT", str(scratch / "out")).replace("DATA", str(clones))
        return shlex.split(text)
