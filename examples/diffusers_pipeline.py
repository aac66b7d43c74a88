"""One prompt without and with PLADIS: python examples/diffusers_pipeline.py MODEL "a red cube on a blue sphere" """

import sys

import torch
from diffusers import DiffusionPipeline

from lib_pladis.diffusers import apply_pladis

model, prompt = sys.argv[1:3]
device = "cuda" if torch.cuda.is_available() else "cpu"
pipe = DiffusionPipeline.from_pretrained(model, torch_dtype=torch.float16 if device == "cuda" else None).to(device)
for name, scale in (("plain", 0.0), ("pladis", 2.0)):
    with apply_pladis(pipe, scale=scale) as pladis:
        pipe(prompt, generator=torch.Generator(device).manual_seed(0)).images[0].save(f"{name}.png")
    print(pladis.report)
