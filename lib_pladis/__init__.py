"""PLADIS for Stable Diffusion web UIs: dense and sparse cross-attention, blended while sampling.

Kim & Sim, "PLADIS: Pushing the Limits of Attention in Diffusion Models at Inference Time by
Leveraging Sparsity", ICCV 2025, arXiv 2503.07677.
"""

__version__ = "0.1.0"
