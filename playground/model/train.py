"""Makes the playground's checkpoint from nothing: `python playground/model/train.py --out DIR`.

Stages: encoder, text model, latents, decoder, UNet, figures. DIR keeps what each stage has reached,
so the same command goes on after an interruption; the latents (50 MB) live there too. The
finished files are DIR/pladis-playground.safetensors and .yaml.
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from playground.model import (
    checkpoint,
    data,
    nets,
    sampler,
    tokenizer,
    train_text,
    train_unet,
    train_vae,
    training,
    weights,
)
from playground.model.scenes import Scene, caption, render, sample
from playground.model.scorer import score
from playground.model.training import Log

SEED = 1
ENCODER_STEPS, TEXT_STEPS, UNET_STEPS, DECODER_STEPS = 600, 1000, 2800, 1600
PARTS = 50
BATCH, CROPS = 32, (32, 8)
"""Pictures a step of the UNet; crops a step of the encoder and of the decoder."""


def make_vae(out: Path, stage: str, rank: int, processes: int) -> None:
    steps, count = (ENCODER_STEPS, CROPS[0]) if stage == "encoder" else (DECODER_STEPS, CROPS[1])
    train_vae.worker(rank, processes, out, stage, steps, count, SEED, Log(out))


def make_text(out: Path) -> None:
    torch.set_num_threads(1)
    vocabulary = train_text.Vocabulary(tokenizer.load(out / "clip"))
    train_text.train(out, vocabulary, TEXT_STEPS, SEED, Log(out))


def trained_vae(out: Path) -> nets.AutoencoderKL:
    """The autoencoder, frozen; until the decoder's stage has saved, the sketch decodes."""
    if (out / "decoder.pt").exists():
        return train_vae.load(out, "decoder").vae
    both = train_vae.load(out, "whitened")
    both.vae.decode = both.sketch.forward  # type: ignore[method-assign]
    return both.vae


def make_latents(out: Path, rank: int, processes: int) -> None:
    torch.set_num_threads(1)
    parts = range(PARTS * rank // processes, PARTS * (rank + 1) // processes)
    data.build(out / "latents", trained_vae(out), parts, SEED, Log(out))


def scale_factor(out: Path) -> float:
    """One over the standard deviation of the first 2,000 latents."""
    first = np.concatenate([np.load(out / "latents" / f"{part}.npy") for part in range(4)])
    return round(1.0 / float(first.astype(np.float32).std()), 5)


def vae_figures(out: Path, count: int = 200) -> str:
    """Objects that the scorer still reads right after encoding and decoding."""
    vae, rng = trained_vae(out), random.Random(SEED + 1)
    scenes = [sample(rng) for _ in range(count)]
    right: list[bool] = []
    for scene in scenes:
        drawn = train_vae.to_tensor([np.asarray(render(scene, rng))])
        with torch.no_grad():
            latents = vae.encode(drawn)
        right += score(sampler.pictures(vae, latents, 1.0)[0], scene).right
    return f"reconstructions: {sum(right) / len(right):.4f} of {len(right)} objects right"


def evaluate(
    networks: train_unet.Networks,
    vae: nets.AutoencoderKL,
    vocabulary: train_text.Vocabulary,
    scale: float,
    kind: str,
    count: int,
) -> tuple[str, list[Image.Image]]:
    """Draws `count` prompts of `kind` (CFG 5, 20 steps): a line of figures, and the pictures."""
    rng = random.Random(f"evaluate {kind}")
    scenes: list[Scene] = [sample(rng, kind) for _ in range(count)]
    texts = [caption(scene, rng) for scene in scenes]
    rows = torch.tensor([vocabulary.rows(text) for text in ["", *texts]])
    networks.eval()
    with torch.no_grad():
        context: Tensor = networks.text(rows).last_hidden_state

    def denoise(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return networks.unet(x, t, context=c)

    bar = nets.schedule()["alphas_cumprod"]
    images: list[Image.Image] = []
    for at in range(0, count, 16):
        batch = context[1 + at : 17 + at]
        latents = sampler.ddim(denoise, batch, context[:1], bar, seed=1000 + at)
        images += sampler.pictures(vae, latents, scale)
    scores = [score(image, scene) for image, scene in zip(images, scenes)]
    objects = sum(len(scene.objects) for scene in scenes)
    parts = ("placed", "right", "colour", "shape", "position", "binding")
    shares = {part: sum(sum(getattr(s, part)) for s in scores) / objects for part in parts}
    line = " ".join(f"{part} {share:.3f}" for part, share in shares.items())
    whole = sum(s.all_right for s in scores) / count
    return f"{kind} ({count} prompts): {line} | pictures all right {whole:.3f}", images


def export(out: Path, networks: train_unet.Networks, vocabulary: train_text.Vocabulary) -> Path:
    """Writes the checkpoint of these networks into DIR and returns its path."""
    text = nets.text_model()
    small = networks.text.state_dict()
    key = "text_model.embeddings.token_embedding.weight"
    text.load_state_dict({**small, key: vocabulary.expand(small[key])})
    unet = copy.deepcopy(networks.unet)
    checkpoint.lift(unet, text)
    path = out / f"{weights.NAME}.safetensors"
    checkpoint.save(path, unet, trained_vae(out), text, scale_factor(out))
    return path


def make_unet(out: Path, rank: int, plan: train_unet.Plan) -> None:
    log = Log(out)
    vocabulary = train_text.Vocabulary(tokenizer.load(out / "clip"))
    vae, scale = trained_vae(out), scale_factor(out)

    def on_save(step: int, average: train_unet.Networks) -> None:
        if step % 500 == 0 or step == plan.steps:
            line, images = evaluate(average, vae, vocabulary, scale, "unseen_combo", 32)
            log(f"  at {step}: {line}")
            sampler.sheet(images, 8).save(out / "sheet.png")
            export(out, average, vocabulary)

    train_unet.worker(rank, out, vocabulary, plan, scale, on_save, log)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--processes", type=int, default=2, help="one per core; divides 32")
    parser.add_argument("--steps", type=int, default=UNET_STEPS, help="steps of the UNet")
    arguments = parser.parse_args()
    out: Path = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    log, processes = Log(out), arguments.processes
    tokenizer.load(out / "clip")
    for meeting in out.glob("meet-*"):
        meeting.unlink()
    ranks = range(processes)
    training.together(make_vae, [(out, "encoder", rank, processes) for rank in ranks])
    if not (out / "whitened.pt").exists():
        train_vae.whiten(out, SEED)
    training.together(make_text, [(out,)])
    training.together(make_latents, [(out, rank, processes) for rank in ranks])
    log(f"scale factor {scale_factor(out)}")
    training.together(make_vae, [(out, "decoder", rank, processes) for rank in ranks])
    log(f"decoder: {vae_figures(out)}")
    plan = train_unet.Plan(arguments.steps, BATCH, PARTS, SEED, processes)
    training.together(make_unet, [(out, rank, plan) for rank in ranks])
    vocabulary = train_text.Vocabulary(tokenizer.load(out / "clip"))
    _, average, _ = train_unet.begin(out, vocabulary, plan)
    for kind in ("unseen_combo", "unseen_pair", "three", "distractors", "one"):
        line, images = evaluate(average, trained_vae(out), vocabulary, scale_factor(out), kind, 96)
        log(line)
        sampler.sheet(images[:48], 8).save(out / f"contact-{kind}.png")
    path = export(out, average, vocabulary)
    log(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
