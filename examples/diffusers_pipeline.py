"""One prompt without and with PLADIS: python examples/diffusers_pipeline.py MODEL "a red cube on a blue sphere" """

import sys

import torch
from diffusers import DiffusionPipeline

from lib_pladis.diffusers import apply_pladis

device = "cuda" if torch.cuda.is_available() else "cpu"
pipe = DiffusionPipeline.from_pretrained(sys.argv[1], torch_dtype=torch.float16 if device == "cuda" else None)
for name, scale in (("plain", 0.0), ("pladis", 2.0)):
    with apply_pladis(pipe.to(device), scale=scale) as pladis:
        pipe(sys.argv[2], generator=torch.manual_seed(0)).images[0].save(f"{name}.png")
    print(pladis.report)
