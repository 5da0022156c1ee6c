"""The programs whose first attach is checked: which instrumentation level it reaches."""

from pathlib import Path

from benchmarks.public_programs.program import ENDLESS, Program

OWN = Path(__file__).parent / "own"
SOAK = Path(__file__).parents[2] / "tests/safety/soak/programs"
TWO_RANKS = "-m torch.distributed.run --standalone --nproc-per-node 2"
SMALL_GPT = (
    "--device=cpu --n_layer=2 --n_head=2 --n_embd=64 --batch_size=4 --block_size=64"
    " --eval_iters=2 --max_iters=1000000"
)
LIGHTNING = "pytorch-lightning/examples"
CLEANRL = "--no-cuda --total-timesteps 10000000"
SB3 = "import stable_baselines3 as s; s.PPO('MlpPolicy', 'CartPole-v1', device='cpu').learn(10**8)"


def soak(name: str, about: str) -> Program:
    """Return one of the soak's programs."""
    command = f"{SOAK / name}.py OUT"
    return Program(f"own {name}", None, command, attach_to="logged", warm_up_s=3.0, about=about)


REACHED = (
    Program("pytorch/examples mnist", "examples/mnist", "main.py --no-accel", data=("mnist",)),
    Program("pytorch/examples mnist_rnn", "examples/mnist_rnn", "main.py", data=("mnist",)),
    Program(
        "pytorch/examples mnist_hogwild",
        "examples/mnist_hogwild",
        "main.py",
        data=("mnist",),
        warm_up_s=30.0,
    ),
    Program(
        "pytorch/examples mnist_forward_forward",
        "examples/mnist_forward_forward",
        "main.py --no_accel --train_size 2000 --test_size 1000",
        data=("mnist",),
    ),
    Program(
        "pytorch/examples vae",
        "examples/vae",
        f"main.py --no-accel --epochs {ENDLESS}",
        data=("mnist",),
    ),
    Program(
        "pytorch/examples siamese_network",
        "examples/siamese_network",
        "main.py --no-accel",
        data=("mnist",),
    ),
    Program(
        "pytorch/examples imagenet",
        "examples/imagenet",
        "main.py --dummy --no-accel -a squeezenet1_1 -b 8 -j 1 --epochs 1",
    ),
    Program(
        "pytorch/examples dcgan",
        "examples/dcgan",
        "main.py --dataset fake --workers 1 --batchSize 8",
    ),
    Program(
        "pytorch/examples word_language_model (LSTM)",
        "examples/word_language_model",
        f"main.py --epochs {ENDLESS}",
        data=("wikitext",),
    ),
    Program(
        "pytorch/examples word_language_model (Transformer)",
        "examples/word_language_model",
        f"main.py --epochs {ENDLESS} --model Transformer --lr 5",
        data=("wikitext",),
    ),
    Program(
        "pytorch/examples time_sequence_prediction",
        "examples/time_sequence_prediction",
        f"train.py --steps {ENDLESS}",
        # It loads NumPy arrays, as it did before torch 2.6.
        {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
        data=("waves",),
    ),
    Program(
        "pytorch/examples super_resolution",
        "examples/super_resolution",
        f"main.py --upscale_factor 3 --batchSize 4 --threads 1 --nEpochs {ENDLESS}",
        data=("super-resolution",),
    ),
    Program(
        "pytorch/examples reinforcement_learning (reinforce)",
        "examples/reinforcement_learning",
        "reinforce.py",
    ),
    Program(
        "pytorch/examples reinforcement_learning (actor_critic)",
        "examples/reinforcement_learning",
        "actor_critic.py",
    ),
    Program(
        "nanoGPT",
        "nanoGPT",
        f"train.py config/train_shakespeare_char.py --compile=False {SMALL_GPT}",
        data=("shakespeare",),
    ),
    Program(
        "nanoGPT compiled",
        "nanoGPT",
        "train.py config/train_shakespeare_char.py --compile=True --out_dir=out-compiled"
        f" {SMALL_GPT}",
        data=("shakespeare",),
        warm_up_s=60.0,
    ),
    Program("minGPT adder", "minGPT/projects/adder", "adder.py", {"PYTHONPATH": "../.."}),
    Program(
        "minGPT chargpt",
        "minGPT/projects/chargpt",
        "chargpt.py",
        {"PYTHONPATH": "../.."},
        data=("chargpt",),
    ),
    Program("makemore", "makemore", "makemore.py -i names.txt -o out --num-workers 1"),
    Program(
        "cleanrl dqn",
        "cleanrl",
        f"cleanrl/dqn.py {CLEANRL} --learning-starts 500",
        {"PYTHONPATH": "."},
    ),
    Program("cleanrl ppo", "cleanrl", f"cleanrl/ppo.py {CLEANRL}", {"PYTHONPATH": "."}),
    Program(
        "cleanrl c51",
        "cleanrl",
        f"cleanrl/c51.py {CLEANRL} --learning-starts 500",
        {"PYTHONPATH": "."},
    ),
    Program(
        "timm train",
        "pytorch-image-models",
        "train.py --data-dir ../pictures --model mobilenetv3_small_050 --device cpu -b 8 -j 1"
        f" --num-classes 2 --epochs {ENDLESS}",
        data=("pictures",),
    ),
    Program(
        "timm benchmark",
        "pytorch-image-models",
        "benchmark.py --model mobilenetv3_small_050 --device cpu -b 4 --bench inference"
        f" --num-bench-iter {ENDLESS}",
        about="inference",
    ),
    Program(
        "Lightning autoencoder",
        f"{LIGHTNING}/pytorch/basics",
        f"autoencoder.py --trainer.max_epochs {ENDLESS} --trainer.accelerator cpu",
        data=("lightning-mnist",),
        warm_up_s=20.0,
    ),
    Program(
        "Lightning transformer",
        f"{LIGHTNING}/pytorch/basics",
        "transformer.py",
        data=("lightning-wikitext",),
        warm_up_s=20.0,
    ),
    Program(
        "Lightning Fabric language model",
        f"{LIGHTNING}/fabric/language_model",
        "train.py",
        data=("lightning-wikitext",),
        warm_up_s=20.0,
    ),
    Program(
        "Lightning Fabric image classifier, DDP",
        f"{LIGHTNING}/fabric/image_classifier",
        "-m lightning.fabric.cli --accelerator cpu --devices 2 --strategy ddp"
        f" train_fabric.py --epochs {ENDLESS}",
        data=("lightning-mnist",),
        attach_to="rank",
        warm_up_s=15.0,
        about="DDP on gloo",
    ),
    Program(
        "gpt-fast",
        "gpt-fast",
        f"generate.py --compile --device cpu --num_samples {ENDLESS}"
        " --checkpoint_path checkpoints/made-up/stories15M/model.pth",
        data=("gpt-fast",),
        warm_up_s=90.0,
        about="torch.compile(fullgraph=True)",
    ),
    Program("stable-baselines3", None, f'-c "{SB3}"', about="the package's own loop"),
    Program(
        "own FSDP2",
        None,
        f"{TWO_RANKS} {OWN}/fsdp2.py",
        attach_to="rank",
        about="FSDP2 on gloo",
    ),
    Program("own Accelerate loop", None, f"{OWN}/accelerate_loop.py"),
    soak("compiled", "torch.compile(fullgraph=True)"),
    soak("hf_trainer", "Hugging Face Trainer"),
    soak("ray_worker", "a Ray actor"),
    soak("prefork", "gunicorn, two forked workers"),
    soak("notebook", "a Jupyter kernel"),
    Program(
        "own vLLM server",
        None,
        f"{OWN}/vllm_server.py OUT",
        attach_to="logged",
        python="vllm",
        about="vLLM on a CPU, two clients",
    ),
)
