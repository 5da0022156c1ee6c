"""The programs: where each comes from, at which commit, and how it is started on a machine without
a GPU and a network.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

OWN = Path(__file__).parent / "own"
SOAK = Path(__file__).parents[2] / "tests/safety/soak/programs"
ENDLESS = "100000"

REPOSITORIES = {
    "examples": ("https://github.com/pytorch/examples", "77f55b912142e11fcfdf5b530231fb9c52f181e8"),
    "nanoGPT": ("https://github.com/karpathy/nanoGPT", "3adf61e154c3fe3fca428ad6bc3818b27a3b8291"),
    "minGPT": ("https://github.com/karpathy/minGPT", "37baab71b9abea1b76ab957409a1cc2fbfba8a26"),
    "makemore": (
        "https://github.com/karpathy/makemore",
        "988aa59e4d8fefa526d06f3b453ad116258398d4",
    ),
    "cleanrl": ("https://github.com/vwxyzjn/cleanrl", "fe8d8a03c41a7ef5b523e2e354bd01c363e786bb"),
    "pytorch-image-models": (
        "https://github.com/huggingface/pytorch-image-models",
        "aa4b5850c1543fa488abf260f18390eda46cf85d",
    ),
    "pytorch-lightning": (
        "https://github.com/Lightning-AI/pytorch-lightning",
        "7f0c3436cd3f6ad3753125672024fc415cbcb414",
    ),
    "gpt-fast": (
        "https://github.com/meta-pytorch/gpt-fast",
        "6ecad9b5b6b987d17ac4303965545873d0192086",
    ),
}


@dataclass(frozen=True)
class Program:
    """`arguments` follow the Python; `attach_to` says which process; `warm_up_s` is CPU time, of
    children too.
    """

    name: str
    repository: str | None
    folder: str
    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    attach_to: str = (
        "started"  # started, rank (its first rank), logged (the one that it names in its OUT.pid)
    )
    warm_up_s: float = 8.0
    about: str = ""
    python: str = "programs"  # or "vllm": the one of --vllm-python


def example(name: str, *arguments: str, script: str = "main.py") -> Program:
    """One of pytorch/examples."""
    return Program(f"pytorch/examples {name}", "examples", name, (script, *arguments))


def soak(name: str, about: str) -> Program:
    """One of the soak's programs."""
    return Program(
        f"own {name}",
        None,
        ".",
        (str(SOAK / f"{name}.py"), "OUT"),
        attach_to="logged",
        warm_up_s=3.0,
        about=about,
    )


def cleanrl(name: str, *arguments: str) -> Program:
    """One of CleanRL's single files, on CartPole."""
    options = ("--no-cuda", "--total-timesteps", "10000000", *arguments)
    return Program(
        f"cleanrl {name}", "cleanrl", ".", (f"cleanrl/{name}.py", *options), {"PYTHONPATH": "."}
    )


def ranks(*arguments: str) -> tuple[str, ...]:
    """torchrun with two ranks."""
    return ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments)


PROGRAMS = (
    example("mnist", "--no-accel"),
    example("mnist_rnn"),
    replace(example("mnist_hogwild"), warm_up_s=30.0),
    example("mnist_forward_forward", "--no_accel", "--train_size", "2000", "--test_size", "1000"),
    example("vae", "--no-accel", "--epochs", ENDLESS),
    example("siamese_network", "--no-accel"),
    example(
        "imagenet",
        "--dummy",
        "--no-accel",
        "-a",
        "squeezenet1_1",
        "-b",
        "8",
        "-j",
        "1",
        "--epochs",
        "1",
    ),
    example("dcgan", "--dataset", "fake", "--workers", "1", "--batchSize", "8"),
    example("word_language_model", "--epochs", ENDLESS),
    example("word_language_model", "--epochs", ENDLESS, "--model", "Transformer", "--lr", "5"),
    replace(
        example("time_sequence_prediction", "--steps", ENDLESS, script="train.py"),
        environment={
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"
        },  # it loads NumPy arrays, as it did before torch 2.6
    ),
    example(
        "super_resolution",
        "--upscale_factor",
        "3",
        "--batchSize",
        "4",
        "--threads",
        "1",
        "--nEpochs",
        ENDLESS,
    ),
    example("reinforcement_learning", script="reinforce.py"),
    example("reinforcement_learning", script="actor_critic.py"),
    Program(
        "nanoGPT",
        "nanoGPT",
        ".",
        (
            "train.py",
            "config/train_shakespeare_char.py",
            "--device=cpu",
            "--compile=False",
            "--n_layer=2",
            "--n_head=2",
            "--n_embd=64",
            "--batch_size=4",
            "--block_size=64",
            "--eval_iters=2",
            "--max_iters=1000000",
        ),
    ),
    Program(
        "nanoGPT compiled",
        "nanoGPT",
        ".",
        (
            "train.py",
            "config/train_shakespeare_char.py",
            "--device=cpu",
            "--compile=True",
            "--n_layer=2",
            "--n_head=2",
            "--n_embd=64",
            "--batch_size=4",
            "--block_size=64",
            "--eval_iters=2",
            "--max_iters=1000000",
            "--out_dir=out-compiled",
        ),
        warm_up_s=60.0,
    ),
    Program("minGPT adder", "minGPT", "projects/adder", ("adder.py",), {"PYTHONPATH": "../.."}),
    Program(
        "minGPT chargpt", "minGPT", "projects/chargpt", ("chargpt.py",), {"PYTHONPATH": "../.."}
    ),
    Program(
        "makemore",
        "makemore",
        ".",
        ("makemore.py", "-i", "names.txt", "-o", "out", "--num-workers", "1"),
    ),
    cleanrl("dqn", "--learning-starts", "500"),
    cleanrl("ppo"),
    cleanrl("c51", "--learning-starts", "500"),
    Program(
        "timm train",
        "pytorch-image-models",
        ".",
        (
            "train.py",
            "--data-dir",
            "../pictures",
            "--model",
            "mobilenetv3_small_050",
            "--device",
            "cpu",
            "-b",
            "8",
            "-j",
            "1",
            "--num-classes",
            "2",
            "--epochs",
            ENDLESS,
        ),
    ),
    Program(
        "timm benchmark",
        "pytorch-image-models",
        ".",
        (
            "benchmark.py",
            "--model",
            "mobilenetv3_small_050",
            "--device",
            "cpu",
            "-b",
            "4",
            "--bench",
            "inference",
        )
        + ("--num-bench-iter", ENDLESS),
        about="inference",
    ),
    Program(
        "Lightning autoencoder",
        "pytorch-lightning",
        "examples/pytorch/basics",
        ("autoencoder.py", "--trainer.max_epochs", ENDLESS, "--trainer.accelerator", "cpu"),
        warm_up_s=20.0,
    ),
    Program(
        "Lightning transformer",
        "pytorch-lightning",
        "examples/pytorch/basics",
        ("transformer.py",),
        warm_up_s=20.0,
    ),
    Program(
        "Lightning Fabric language model",
        "pytorch-lightning",
        "examples/fabric/language_model",
        ("train.py",),
        warm_up_s=20.0,
    ),
    Program(
        "Lightning Fabric image classifier, DDP",
        "pytorch-lightning",
        "examples/fabric/image_classifier",
        (
            "-m",
            "lightning.fabric.cli",
            "--accelerator",
            "cpu",
            "--devices",
            "2",
            "--strategy",
            "ddp",
        )
        + ("train_fabric.py", "--epochs", ENDLESS),
        attach_to="rank",
        warm_up_s=15.0,
        about="DDP on gloo",
    ),
    Program(
        "gpt-fast",
        "gpt-fast",
        ".",
        ("generate.py", "--compile", "--device", "cpu", "--num_samples", ENDLESS)
        + ("--checkpoint_path", "checkpoints/made-up/stories15M/model.pth"),
        warm_up_s=90.0,
        about="torch.compile(fullgraph=True)",
    ),
    Program(
        "stable-baselines3",
        None,
        ".",
        (
            "-c",
            (
                "import stable_baselines3 as s; s.PPO('MlpPolicy', 'CartPole-v1',"
                " device='cpu').learn(10**8)"
            ),
        ),
        about="the package's own loop",
    ),
    Program(
        "own FSDP2",
        None,
        ".",
        ranks(str(OWN / "fsdp2.py")),
        attach_to="rank",
        about="FSDP2 on gloo",
    ),
    Program("own Accelerate loop", None, ".", (str(OWN / "accelerate_loop.py"),)),
    soak("compiled", "torch.compile(fullgraph=True)"),
    soak("hf_trainer", "Hugging Face Trainer"),
    soak("ray_worker", "a Ray actor"),
    soak("prefork", "gunicorn, two forked workers"),
    soak("notebook", "a Jupyter kernel"),
    Program(
        "own vLLM server",
        None,
        ".",
        (str(OWN / "vllm_server.py"), "OUT"),
        attach_to="logged",
        python="vllm",
        about="vLLM on a CPU, two clients",
    ),
)
