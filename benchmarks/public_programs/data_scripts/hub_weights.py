"""Writes random weights of timm's resnet50d as if the hub's client had loaded them, in a folder."""

import sys
from pathlib import Path

import timm
from safetensors.torch import save_file

REVISION = "0" * 40
model = timm.create_model("resnet50d", pretrained=False)
place = Path(sys.argv[1]) / ("models--" + model.pretrained_cfg["hf_hub_id"].replace("/", "--"))
(place / "refs").mkdir(parents=True, exist_ok=True)
(place / "refs/main").write_text(REVISION)
(place / "snapshots" / REVISION).mkdir(parents=True, exist_ok=True)
save_file(model.state_dict(), place / "snapshots" / REVISION / "model.safetensors")
