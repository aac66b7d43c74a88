"""What the functions that PLADIS stands in for take, by web UI and version: their arguments' names, in order.

Written from the web UIs' sources. With `PLADIS_HOSTS` naming folders of web UIs, `test_host_functions.py` reads them
there and fails where they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

ArgumentsOf = Mapping[str, str]
"""By file and name, `backend/attention.py:attention_pytorch`, or class and name: its arguments."""

_T = TypeVar("_T")


def _each(value: _T, *names: str) -> dict[str, _T]:
    return {name: value for name in names}


@dataclass(frozen=True)
class Host:
    """A version of a web UI.

    mark: a file that tells the program, and what is in it. attention: functions that transformers call, and the U-Net's
    own. networks: transformers' `forward`. forwards: `forward` of attn2. replacement: where a replacement for attn2 is
    called, a dict's name in a file, and what it is given. more: what attention functions look for in **kwargs.
    """

    program: str
    version: str
    mark: tuple[str, str]
    attention: ArgumentsOf
    networks: ArgumentsOf = field(default_factory=dict)
    forwards: ArgumentsOf = field(default_factory=dict)
    replacement: ArgumentsOf = field(default_factory=dict)
    more: tuple[str, ...] = ()


_IN_FORGE = "n context_attn2 value_attn2 extra_options"
_SIX = "q k v heads mask attn_precision skip_reshape"
_SEVEN = f"{_SIX} skip_output_reshape"
_NEO_NETWORKS = {
    "backend/nn/anima.py:Anima": "x timesteps context padding_mask **kwargs",
    "backend/nn/chroma.py:IntegratedChromaTransformer2DModel": (
        "x timestep context guidance control transformer_options **kwargs"
    ),
    "backend/nn/ernie.py:ErnieImageModel": "x timesteps context **kwargs",
    "backend/nn/flux.py:IntegratedFluxTransformer2DModel": (
        "x timestep context y guidance ref_latents control transformer_options **kwargs"
    ),
    "backend/nn/krea.py:SingleStreamDiT": "x timesteps context attention_mask transformer_options **kwargs",
    "backend/nn/lumina.py:NextDiT": "x timesteps context num_tokens attention_mask transformer_options **kwargs",
    "backend/nn/pixeldit/pid.py:PidNet": "x timesteps context attention_mask transformer_options **kwargs",
    "backend/nn/qwen.py:QwenImageTransformer2DModel": (
        "x timesteps context attention_mask guidance ref_latents transformer_options control **kwargs"
    ),
    "backend/nn/wan.py:WanModel": "x timestep context clip_fea time_dim_concat transformer_options **kwargs",
}

_SEEN_OF_NEWER = ("krea.py:SingleStreamDiT", "ernie.py:ErnieImageModel", "pixeldit/pid.py:PidNet")

HOSTS = (
    Host(
        "AUTOMATIC1111",
        "1.10.1",
        ("modules/sd_hijack_optimizations.py", "def split_cross_attention_forward_invokeAI"),
        attention={"modules/models/sd3/other_impls.py:attention": "q k v heads mask"},
        networks={"modules/models/sd3/mmdit.py:MMDiT": "x t y context"},
        forwards={
            **_each(
                "x context mask **kwargs",
                *(
                    f"modules/sd_hijack_optimizations.py:{name}"
                    for name in (
                        "split_cross_attention_forward_v1",
                        "split_cross_attention_forward",
                        "split_cross_attention_forward_invokeAI",
                        "sub_quad_attention_forward",
                        "xformers_attention_forward",
                        "scaled_dot_product_attention_forward",
                        "scaled_dot_product_no_mem_attention_forward",
                    )
                ),
            ),
            "repositories/stable-diffusion-stability-ai/ldm/modules/attention.py:CrossAttention": "x context mask",
            "repositories/generative-models/sgm/modules/attention.py:CrossAttention": (
                "x context mask additional_tokens n_times_crossframe_attn_in_self"
            ),
        },
    ),
    Host(
        "Forge",
        "dfdcbab6 (June 2025)",
        ("backend/nn/mmditx.py", "class MMDiTX"),
        attention={
            **_each(_SIX, *(f"backend/attention.py:attention_{name}" for name in ("basic", "split", "xformers"))),
            "backend/attention.py:attention_sub_quad": _SIX.replace("q k v", "query key value"),
            "backend/attention.py:attention_pytorch": _SIX,
            "backend/nn/mmditx.py:attention": "q k v heads mask",
        },
        networks={
            "backend/nn/flux.py:IntegratedFluxTransformer2DModel": "x timestep context y guidance **kwargs",
            "backend/nn/chroma.py:IntegratedChromaTransformer2DModel": "x timestep context **kwargs",
            "backend/nn/mmditx.py:MMDiTX": "x t y context control transformer_options **kwargs",
        },
        replacement={"backend/nn/unet.py:attn2_replace_patch": _IN_FORGE},
    ),
    Host(
        "Forge Neo",
        "2.26",
        ("modules_forge/forge_version.py", "neo"),
        attention=_each(
            f"{_SEVEN} **kwargs",
            *(f"backend/attention.py:attention_{name}" for name in ("basic", "xformers", "pytorch", "sage", "flash")),
        ),
        networks=_NEO_NETWORKS,
        replacement={"backend/nn/unet.py:attn2_replace_patch": _IN_FORGE},
    ),
    Host(
        "Forge Neo",
        "2.27 to 2.29 (single files)",
        ("modules_forge/forge_version.py", "neo"),
        attention=_each(
            f"{_SEVEN} **kwargs",
            *(
                f"backend/attention.py:attention_{name}"
                for name in ("basic", "xformers", "pytorch", "sage", "flash", "comfy_kitchen_int8")
            ),
        ),
        networks={f"backend/nn/{name}": _NEO_NETWORKS[f"backend/nn/{name}"] for name in _SEEN_OF_NEWER},
        more=("enable_gqa", "scale"),
    ),
    Host(
        "reForge",
        "3b56b268 (March 2026)",
        ("ldm_patched/ldm/modules/attention.py", "attention_sage3"),
        attention={
            **_each(
                _SEVEN,
                *(
                    f"ldm_patched/ldm/modules/attention.py:attention_{name}"
                    for name in ("basic", "split", "xformers", "pytorch", "sage", "sage3", "flash")
                ),
            ),
            "ldm_patched/ldm/modules/attention.py:attention_sub_quad": _SEVEN.replace("q k v", "query key value"),
        },
        replacement={"ldm_patched/ldm/modules/attention.py:attn2_replace_patch": _IN_FORGE},
    ),
    Host(
        "Forge Classic",
        "1f95d717 (February 2025)",
        ("ldm_patched/ldm/modules/attention.py", "q, k, v, heads, mask=None)"),
        attention={
            **_each(
                "q k v heads mask",
                *(
                    f"ldm_patched/ldm/modules/attention.py:attention_{name}"
                    for name in ("basic", "split", "xformers", "pytorch", "sage")
                ),
            ),
            "ldm_patched/ldm/modules/attention.py:attention_sub_quad": "query key value heads mask",
        },
        replacement={"ldm_patched/ldm/modules/attention.py:attn2_replace_patch": _IN_FORGE},
    ),
)
