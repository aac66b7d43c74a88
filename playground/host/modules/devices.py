"""Device and precision. The playground runs in fp32 on the CPU, or on CUDA where torch has it."""

from __future__ import annotations

import torch

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
cpu = torch.device("cpu")
dtype = dtype_vae = dtype_unet = torch.float32
