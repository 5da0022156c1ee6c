"""The training programs whose answers are compared with reading them and with py-spy.

They are started as their authors say, with batches and models that suit a CPU where the authors
leave the choice. Their Python needs torch, torchvision, lightning[extra], transformers, datasets,
trl, diffusers, gymnasium, stable-baselines3, tyro, tensorboard, torch_geometric,
scikit-learn, onnx, speechbrain, soundfile and timm.
"""

import re
from dataclasses import dataclass

from benchmarks.public_programs.program import ENDLESS, Program
from benchmarks.public_programs.reached_programs import CLEANRL, LIGHTNING, SB3

DLRM = (
    "dlrm_s_pytorch.py --mini-batch-size=2048 --num-batches=1000 --data-generation=random"
    " --arch-mlp-bot=512-512-64 --arch-mlp-top=1024-1024-1024-1 --arch-sparse-feature-size=64"
    " --arch-embedding-size=1000000-1000000-1000000-1000000-1000000-1000000-1000000-1000000"
    " --num-indices-per-lookup=100 --arch-interaction-op=dot --numpy-rand-seed=727"
    " --print-freq=100 --print-time"
)
NANOGPT = (
    "train.py config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20"
    " --log_interval=1 --block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128"
    " --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0"
)
DIFFUSION = (
    "train_unconditional.py --train_data_dir DATA/made-up/pets --resolution=32 --center_crop"
    " --random_flip --output_dir OUT --train_batch_size=4 --num_epochs=100"
    " --gradient_accumulation_steps=1 --use_ema --learning_rate=1e-4 --lr_warmup_steps=500"
    " --mixed_precision=no"
)
FINE_TUNING = (
    "-m trl.scripts.sft --model_name_or_path DATA/made-up/gpt2"
    " --dataset_name DATA/made-up/sentences --learning_rate 2.0e-5 --num_train_epochs 1"
    " --per_device_train_batch_size 8 --max_length 128 --output_dir OUT --report_to none --use_cpu"
)
ENHANCEMENT = "train.py train.yaml --data_folder DATA/made-up/speech --device cpu"


@dataclass(frozen=True)
class TrainingProgram(Program):
    """A program that trains: what it learns, and whose loop it runs."""

    subject: str = ""
    loop: str = "plain"

    @property
    def slug(self) -> str:
        """Its name as the name of a folder."""
        return re.sub(r"[^\w]+", "-", self.name).strip("-")


TRAINING = (
    TrainingProgram(
        "pytorch/examples mnist",
        "examples/mnist",
        "main.py",
        data=("mnist",),
        subject="vision",
    ),
    TrainingProgram(
        "pytorch/examples siamese_network",
        "examples/siamese_network",
        "main.py",
        data=("mnist",),
        subject="vision",
    ),
    TrainingProgram(
        "pytorch/examples imagenet",
        "examples/imagenet",
        "main.py -a resnet18 --dummy -b 16",
        warm_up_s=30.0,
        subject="vision",
    ),
    TrainingProgram(
        "pytorch/examples dcgan",
        "examples/dcgan",
        "main.py --dataset fake",
        warm_up_s=20.0,
        subject="vision",
    ),
    TrainingProgram(
        "pytorch/examples super_resolution",
        "examples/super_resolution",
        "main.py --upscale_factor 3 --batchSize 4 --testBatchSize 100 --nEpochs 30 --lr 0.001",
        data=("super-resolution",),
        subject="vision",
    ),
    TrainingProgram(
        "timm train",
        "pytorch-image-models",
        f"train.py --data-dir ../pictures --model mobilenetv3_small_050 --device cpu -b 32"
        f" --num-classes 2 --epochs {ENDLESS} --output OUT",
        data=("pictures",),
        warm_up_s=20.0,
        subject="vision",
    ),
    TrainingProgram(
        "pytorch/examples word_language_model",
        "examples/word_language_model",
        "main.py --epochs 6",
        data=("wikitext",),
        subject="language",
    ),
    TrainingProgram("nanoGPT", "nanoGPT", NANOGPT, data=("shakespeare",), subject="language"),
    TrainingProgram(
        "makemore",
        "makemore",
        "makemore.py -i names.txt -o OUT",
        warm_up_s=15.0,
        subject="language",
    ),
    TrainingProgram(
        "pytorch/examples time_sequence_prediction",
        "examples/time_sequence_prediction",
        "train.py --steps 15",
        # It loads NumPy arrays, as it did before torch 2.6.
        {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
        data=("waves",),
        subject="time series",
    ),
    TrainingProgram(
        "pytorch/examples reinforcement_learning",
        "examples/reinforcement_learning",
        "reinforce.py",
        subject="RL",
    ),
    TrainingProgram(
        "cleanrl ppo", "cleanrl", f"cleanrl/ppo.py {CLEANRL}", {"PYTHONPATH": "."}, subject="RL"
    ),
    TrainingProgram(
        "cleanrl dqn",
        "cleanrl",
        f"cleanrl/dqn.py {CLEANRL}",
        {"PYTHONPATH": "."},
        warm_up_s=30.0,
        subject="RL",
    ),
    TrainingProgram(
        "stable-baselines3 PPO", None, f'-c "{SB3}"', subject="RL", loop="stable-baselines3"
    ),
    TrainingProgram(
        "Lightning autoencoder",
        f"{LIGHTNING}/pytorch/basics",
        "autoencoder.py --trainer.max_epochs=50",
        data=("lightning-mnist",),
        warm_up_s=20.0,
        subject="vision",
        loop="Lightning",
    ),
    TrainingProgram(
        "Lightning transformer",
        f"{LIGHTNING}/pytorch/basics",
        "transformer.py",
        data=("lightning-wikitext",),
        warm_up_s=20.0,
        subject="language",
        loop="Lightning",
    ),
    TrainingProgram(
        "Lightning Fabric language model",
        f"{LIGHTNING}/fabric/language_model",
        "train.py",
        data=("lightning-wikitext",),
        warm_up_s=20.0,
        subject="language",
        loop="Fabric",
    ),
    TrainingProgram(
        "trl sft",
        None,
        FINE_TUNING,
        data=("language-model",),
        warm_up_s=40.0,
        subject="language",
        loop="Hugging Face Trainer",
    ),
    TrainingProgram(
        "accelerate cv_example",
        "accelerate/examples",
        "cv_example.py --data_dir DATA/made-up/pets --cpu",
        {"HF_HUB_CACHE": "../../made-up/hub"},
        data=("pets", "hub"),
        warm_up_s=45.0,
        subject="vision",
        loop="Accelerate",
    ),
    TrainingProgram(
        "diffusers train_unconditional",
        "diffusers/examples/unconditional_image_generation",
        DIFFUSION,
        data=("pets",),
        warm_up_s=60.0,
        subject="diffusion",
        loop="Accelerate",
    ),
    TrainingProgram(
        "PyTorch Geometric mutag_gin",
        "pytorch_geometric/examples",
        f"mutag_gin.py --epochs {ENDLESS}",
        data=("graphs",),
        subject="GNN",
    ),
    TrainingProgram(
        "PyTorch Geometric gcn",
        "pytorch_geometric/examples",
        f"gcn.py --epochs {ENDLESS}",
        data=("graphs",),
        subject="GNN",
    ),
    TrainingProgram(
        "SpeechBrain enhancement",
        "speechbrain/templates/enhancement",
        ENHANCEMENT,
        data=("speech",),
        warm_up_s=30.0,
        subject="speech",
        loop="SpeechBrain",
    ),
    TrainingProgram("DLRM", "dlrm", DLRM, warm_up_s=40.0, subject="recommender"),
)
