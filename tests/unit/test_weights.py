"""The weights in the tree: each part once, full checkpoints from them that are the trained ones, and what they draw."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("ldm", reason="the playground's pins are not in this environment")

from safetensors.torch import load, load_file  # noqa: E402

from playground.model import export, weights  # noqa: E402
from playground.model.load import Model  # noqa: E402
from playground.model.load import load as load_model  # noqa: E402
from playground.model.scenes import COLOURS, SHAPES, caption, sample  # noqa: E402
from playground.model.scorer import score  # noqa: E402

MOST_BYTES = 18_000_000
"""Of all weights together: whoever clones the extension into a web UI gets them."""

PARTS = {
    "text": "10af9ec781dc4578f3baf020fcb3ed09834794ffd6c3587c2d1b18c37b2d36e2",
    "vae": "68f28b3fb2ba14fc813514b29c52369568602e7b3dd071d3b3dffc6f48777f0e",
    "schedule": "4254194873a581a552ece868746274b29fbee2151647f8f1b810926e27766760",
    "pladis-playground": "1ad3d94a7681ed64f0eb01828860cbab5d5b17273609a2ebf52739bcc46f91d3",
    "pladis-playground-4step": "874d4e466e915781cd0bad551a36eba3a9c9eaa6a13e153560f49cd835339ce2",
}
"""`digest` of each part of the checkpoints that training wrote: both shared parts, and each one's UNet."""

FILES = {
    "pladis-playground": "c094570a5b9f4bc26702e4214cb142ed47725f27c0d45632f730895bc078ed5c",
    "pladis-playground-4step": "cba1b1def1563c6d68d4f7ab1072dbc276f205f14a108f7dfc97ac60aa3c3fab",
}
"""sha256 of those files. Pictures and the scores in benchmarks/results name models by its first ten digits."""

FEW_STEPS = f"{weights.NAME}-4step"
CLIP_FOLDER = f"models/Stable-diffusion/{weights.NAME}-clip"
"""Where a web UI finds the text model's settings, from its own folder."""
STEPS = (1, 4, 7)

UNKNOWN = "a cat with a zebra on 3 bagpipes"


def digest(tensors: dict[str, Tensor]) -> str:
    """sha256 over names, shapes and bytes: whatever file format holds them."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(f"{name} {list(tensors[name].shape)}".encode())
        found.update(tensors[name].contiguous().numpy().tobytes())
    return found.hexdigest()


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Same names, types, shapes and bits."""
    if one.keys() != other.keys():
        return False
    pairs = [(one[name], other[name]) for name in one]
    return all(a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes() for a, b in pairs)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export.export(folder)
    return folder


def test_the_weights_are_no_more_than_18_mb() -> None:
    kinds = (".xz", ".safetensors", ".ckpt", ".pt", ".bin", ".npy", ".npz")
    files = [path for path in (ROOT / "playground" / "model").rglob("*") if path.suffix in kinds]
    assert {path.parent for path in files} == {weights.FOLDER}
    assert {path.stem for path in files} == {*weights.SHARED, *weights.UNETS.values()}
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES


@pytest.mark.parametrize("name", weights.UNETS)
def test_each_part_is_what_training_wrote(name: str) -> None:
    tensors = weights.assemble(name)
    of = {"text": weights.TEXT_PREFIX, "vae": weights.VAE_PREFIX, name: weights.UNET_PREFIX}
    for part, prefix in of.items():
        assert digest({key: value for key, value in tensors.items() if key.startswith(prefix)}) == PARTS[part], part
    rest = {key: value for key, value in tensors.items() if not key.startswith(tuple(of.values()))}
    assert digest(rest) == PARTS["schedule"]


def test_export_writes_the_files_of_before_and_one_folder_for_their_text_model(exported: Path) -> None:
    names = {path.name for path in exported.iterdir()}
    clip = f"{weights.NAME}-clip"
    assert names == {f"{name}.{end}" for name in weights.UNETS for end in ("safetensors", "yaml")} | {clip}
    for name, expected in FILES.items():
        path = exported / f"{name}.safetensors"
        assert equal(load_file(str(path)), weights.assemble(name))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == expected == weights.sha256(name) == weights.sha256(path)
        assert path.with_suffix(".yaml").read_text(encoding="utf-8").count(CLIP_FOLDER) == 1
    assert (exported / clip / "config.json").is_file()


def test_a_part_that_is_missing_is_said_and_nothing_is_exported(tmp_path: Path) -> None:
    part = shutil.copytree(weights.FOLDER, tmp_path / "weights") / "vae.xz"
    part.unlink()
    with pytest.raises(FileNotFoundError, match=r"vae\.xz"):
        export.export(tmp_path / "there", tmp_path / "weights")
    assert not (tmp_path / "there").exists()
    with pytest.raises(FileNotFoundError, match=r"by name there are pladis-playground, pladis-playground-4step"):
        load_model("pladis-playground-5step")


def test_packing_loses_nothing_with_and_without_a_base() -> None:
    generator = torch.Generator().manual_seed(0)
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)  # every fp16 number
    others = bits[torch.randperm(len(bits), generator=generator)]
    file, base = (weights.save({"x": each, "n": torch.arange(3)}) for each in (bits, others))
    assert weights.unpack(weights.pack(file)) == file
    assert weights.unpack(weights.pack(file, base), base) == file
    assert equal(load(file), {"x": bits, "n": torch.arange(3)})


def test_the_trained_tokens_are_the_captions_and_all_others_read_one_row() -> None:
    model = load_model()
    trained = load(weights.unpack((weights.FOLDER / "text.xz").read_bytes()))[weights.TRAINED_IDS]
    assert {token for word in (*COLOURS, *SHAPES) for token in model.text.tokenizer(word).input_ids} < {
        *trained.tolist()
    }
    embedding = model.text.transformer.text_model.embeddings.token_embedding.weight
    assert embedding.shape == (weights.TOKENS, 128)
    others = torch.ones(weights.TOKENS, dtype=torch.bool)
    others[trained.long()] = False
    assert torch.unique(embedding[others], dim=0).shape[0] == 1
    assert torch.unique(embedding, dim=0).shape[0] == len(trained) + 1


def sgm_uniform(steps: int) -> list[float]:
    """σ by the schedule's definition, in float64: equal parts of the timesteps from 999 down, then 0."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    bar = np.cumprod(1.0 - betas)
    times = [999.0 * (steps - i) / steps for i in range(steps)]
    return [math.exp(float(np.interp(t, np.arange(1000), np.log((1.0 - bar) / bar) / 2))) for t in times] + [0.0]


@torch.no_grad()
def drawn(model: Model, prompts: list[str], steps: int, cfg: float) -> list[Image.Image]:
    """Pictures of `prompts`, one at a time, Euler on SGM Uniform, noise from seed 7 on."""
    sigmas, empty, images = sgm_uniform(steps), model.text([""]), []
    for i, prompt in enumerate(prompts):
        x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7 + i)) * sigmas[0]
        context = model.text([prompt])
        for n, (here, there) in enumerate(itertools.pairwise(sigmas)):
            scaled, t = x / math.sqrt(here**2 + 1), torch.tensor([999.0 * (steps - n) / steps])
            eps = model.unet(scaled, t, context=context)
            if cfg != 1:
                uncond = model.unet(scaled, t, context=empty)
                eps = uncond + cfg * (eps - uncond)
            x = x + eps * (there - here)
        picture = ((model.vae.decode(x / model.scale_factor)[0].clamp(-1, 1) + 1) * 127.5).round().byte()
        images.append(Image.fromarray(picture.permute(1, 2, 0).numpy()))
    return images


@pytest.mark.parametrize(("name", "cfg"), [(weights.NAME, 5.0), (FEW_STEPS, 1.0)])
def test_the_exported_file_draws_the_pictures_of_the_model(exported: Path, name: str, cfg: float) -> None:
    rng = random.Random("weights")
    prompts = [caption(sample(rng), rng), caption(sample(rng, "distractors"), rng), UNKNOWN]
    here, there = load_model(name), load_model(exported / f"{name}.safetensors")
    assert here.scale_factor == there.scale_factor
    pictures = [image.tobytes() for image in drawn(here, prompts, 4, cfg)]
    assert pictures == [image.tobytes() for image in drawn(there, prompts, 4, cfg)]
    assert len(set(pictures)) == len(prompts)
    assert here.filename == f"{name}.safetensors" and there.filename == str(exported / here.filename)
    assert here.sha256 == there.sha256 == FILES[name]


def test_the_few_step_model_draws_in_four_steps_at_cfg_1_what_the_other_cannot() -> None:
    rng = random.Random("figures")
    scenes = [sample(rng, "three") for _ in range(24)]
    prompts = [caption(scene, rng) for scene in scenes]
    right = {
        name: sum(
            sum(score(image, scene).right) for image, scene in zip(drawn(load_model(name), prompts, 4, 1), scenes)
        )
        for name in (FEW_STEPS, weights.NAME)
    }
    assert right[FEW_STEPS] > 0.8 * 72 and right[FEW_STEPS] > right[weights.NAME] + 0.05 * 72


def test_the_host_names_the_model_as_a_webui_does_and_has_its_schedule() -> None:
    code = (
        "import json, sys; sys.path.append('..')\n"
        "from modules import sd_models, sd_schedulers\n"
        f"sd_models.list_models({FEW_STEPS!r})\n"
        f"model = sd_models.load_model({FEW_STEPS!r})\n"
        "print(model.sd_checkpoint_info.title, *sd_models.checkpoints_list, sep='\\n')\n"
        "wrap = sd_schedulers.CompVisDenoiser(model)\n"
        f"for steps in {STEPS}:\n"
        "    sigmas = sd_schedulers.SCHEDULES['SGM Uniform'](steps, wrap)\n"
        "    print(json.dumps([sigmas.tolist(), wrap.sigma_to_t(sigmas[:-1]).tolist()]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-c", code]
    done = subprocess.run(
        run, cwd=ROOT / "playground" / "host", capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-5:-3] == [f"{FEW_STEPS}.safetensors [{FILES[FEW_STEPS][:10]}]"] * 2
    for steps, line in zip(STEPS, lines[-3:]):
        sigmas, timesteps = map(torch.tensor, json.loads(line))
        torch.testing.assert_close(sigmas, torch.tensor(sgm_uniform(steps)), rtol=1e-4, atol=0)
        # the host calls the UNet at the timesteps that it was trained at
        expected = torch.tensor([999.0 * (steps - i) / steps for i in range(steps)])
        torch.testing.assert_close(timesteps, expected, rtol=0, atol=0.01)
