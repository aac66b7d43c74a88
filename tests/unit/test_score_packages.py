"""The scorers against the packages themselves, where those are installed, with small models of random weights.

Nothing is downloaded: what the packages would fetch is made here. A package that is missing is skipped by name.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.align import scores
from benchmarks.align.prompts import Prompt

PROMPTS = [Prompt("a red circle left of a blue square", "relation"), Prompt("a cat", "single")]


def pictures() -> list[Image.Image]:
    """One upright, one with transparency, which packages that are handed an RGBA picture may choke on."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 90, 60, 4), np.uint8)
    return [Image.fromarray(noise[0, ..., :3]), Image.fromarray(noise[1])]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.manual_seed(0)
    scores.scorer_of.cache_clear()
    yield
    scores.scorer_of.cache_clear()


def package(name: str, *parts: str) -> list[Any]:
    """The modules; skips where the package is missing or does not fit what is installed beside it."""
    found = []
    for one in (name, *(f"{name}.{part}" for part in parts)):
        try:
            found.append(__import__(one, fromlist=["_"]))
        except scores.UNUSABLE as error:
            pytest.skip(f"{one}: {error}")
    return found


def ours(name: str) -> list[float]:
    """Our score of every picture with every prompt."""
    return [
        value
        for picture in pictures()
        for prompt in PROMPTS
        for value in scores.judge([name], picture, prompt).values()
    ]


def theirs(score: Any) -> list[float]:
    return [float(score(picture.convert("RGB"), prompt.text)) for picture in pictures() for prompt in PROMPTS]


def agree(name: str, expected: list[float], tolerance: float) -> None:
    assert ours(name) == pytest.approx(expected, abs=tolerance)
    assert np.ptp(expected) > 10 * tolerance, "the models tell these pictures and prompts apart"


def shaken(model: Any, strength: float = 0.2) -> Any:
    """The model with larger weights than those it began with, so that its outputs differ."""
    with torch.no_grad():
        for weights in model.parameters():
            inputs = weights.shape[-1] if weights.ndim > 1 else 1
            weights.add_(strength * torch.randn_like(weights) / inputs**0.5)
    return model.eval()


def test_clip_against_openais_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """open_clip's model, tokens and preparation against those of the package that the weights were made with."""
    (open_clip,) = package("open_clip")
    clip, building = package("clip", "model")
    size = {"embed_dim": 32, "image_resolution": 64, "vision_layers": 2, "vision_width": 64, "vision_patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "transformer_width": 64, "transformer_heads": 1}
    reference = shaken(building.CLIP(**size, **text, transformer_layers=2))
    torch.save(reference.state_dict(), tmp_path / "small.pt")
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
    }
    (tmp_path / "small.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    monkeypatch.setattr(scores, "CLIP_MODEL", "small")
    monkeypatch.setattr(scores, "CLIP_WEIGHTS", str(tmp_path / "small.pt"))
    prepare = clip.clip._transform(64)

    @torch.no_grad()
    def score(picture: Image.Image, words: str) -> float:
        image = reference.encode_image(prepare(picture)[None])
        return float(100 * torch.cosine_similarity(image, reference.encode_text(clip.tokenize([words]))))

    agree("clip", theirs(score), 1e-3)


def test_hps_against_its_own_function(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub, (_, img_score, utils) = package("huggingface_hub")[0], package("hpsv2", "img_score", "utils")
    (factory,) = package("hpsv2.src.open_clip.factory")
    small = factory.get_model_config(scores.HPS_MODEL)
    small["vision_cfg"] |= {"layers": 2, "width": 64, "head_width": 32}
    small["text_cfg"] |= {"layers": 2, "width": 64, "heads": 2}
    monkeypatch.setitem(factory._MODEL_CONFIGS, scores.HPS_MODEL, small | {"embed_dim": 32})
    first, final = (shaken(factory.create_model(scores.HPS_MODEL)).state_dict() for _ in range(2))
    torch.save(first, tmp_path / "laion.pt")
    torch.save({"state_dict": final}, tmp_path / utils.hps_version_map[scores.HPS_VERSION])
    monkeypatch.setattr(factory, "download_pretrained", lambda *_, **__: str(tmp_path / "laion.pt"))
    monkeypatch.setattr(hub, "hf_hub_download", lambda _, file: str(tmp_path / file))
    monkeypatch.setattr(img_score, "root_path", str(tmp_path))
    monkeypatch.setattr(img_score, "model_dict", {})

    def score(picture: Image.Image, words: str) -> float:
        return 100 * float(img_score.score(picture, words, hps_version=scores.HPS_VERSION)[0])

    agree("hps", theirs(score), 1e-3)


def test_imagereward_against_its_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Loaded as the package loads it; the number held against the package's layers, put together here."""
    hub = package("transformers")[0]
    _, utils, pretrain, blip, vit = package(
        "ImageReward", "utils", "models.BLIP.blip_pretrain", "models.BLIP.blip", "models.BLIP.vit"
    )
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *" ".join(one.text for one in PROMPTS).split()]
    (tmp_path / "vocab.txt").write_text("\n".join(dict.fromkeys(words)))
    monkeypatch.setattr(blip.BertTokenizer, "from_pretrained", lambda _: hub.BertTokenizer(str(tmp_path / "vocab.txt")))
    small = {"img_size": 224, "patch_size": 32, "embed_dim": 64, "depth": 2, "num_heads": 2}
    monkeypatch.setattr(pretrain, "create_vit", lambda *_: (vit.VisionTransformer(**small), 64))
    config = {
        "hidden_size": 768, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "vocab_size": 64, "add_cross_attention": True, "fusion_layer": 2, "encoder_width": 64,
    }  # fmt: skip
    (tmp_path / "med_config.json").write_text(json.dumps(config))
    model = shaken(utils.ImageReward(med_config=tmp_path / "med_config.json"), 1.0)
    torch.save(model.state_dict(), tmp_path / "ImageReward.pt")
    monkeypatch.setattr(utils, "ImageReward_download", lambda url, _: str(tmp_path / url.rsplit("/", 1)[1]))

    @torch.no_grad()
    def score(picture: Image.Image, text: str) -> float:
        tokens = model.blip.tokenizer(text, return_tensors="pt")
        seen = model.blip.visual_encoder(model.preprocess(picture)[None])
        attended = model.blip.text_encoder(
            tokens.input_ids, tokens.attention_mask, encoder_hidden_states=seen, return_dict=True
        )
        return (float(model.mlp(attended.last_hidden_state[:, 0])) - 0.16717362830052426) / 1.0333394966054072

    agree("imagereward", theirs(score), 1e-3)


def test_vqascore_is_the_probability_of_yes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Against transformers' T5 and CLIP, with the package's question around the prompt, put together here."""
    models, hub = (
        package("t2v_metrics", "models.vqascore_models.clip_t5_model")[1],
        package("transformers", "models.t5")[0],
    )
    (sentencepiece,) = package("sentencepiece")
    text = [one.text for one in PROMPTS] + [models.SYSTEM_MSG, "USER: ASSISTANT:", 'Does this figure show "?" Yes no']
    (tmp_path / "text.txt").write_text("\n".join(text * 3))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tmp_path / "spiece"), vocab_size=90,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    tokenizer = hub.T5Tokenizer(str(tmp_path / "spiece.model"), extra_ids=0, legacy=True)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    seeing = hub.CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=32, patch_size=8
    )
    hub.CLIPVisionModel(seeing).save_pretrained(tmp_path / "tower")
    hub.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(tmp_path / "tower")
    config = models.CLIPT5ForConditionalGeneration.config_class(
        vocab_size=len(tokenizer), d_model=32, d_kv=16, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0,
        mm_vision_tower=str(tmp_path / "tower"), mm_vision_select_layer=-2, mm_hidden_size=32,
        mm_projector_type="mlp2x_gelu",
    )  # fmt: skip
    model = models.CLIPT5ForConditionalGeneration(config)
    shaken(model, 0.5).bfloat16().float().save_pretrained(tmp_path / "model", safe_serialization=False)
    one = models.CLIP_T5_MODELS[scores.VQA_MODEL]
    monkeypatch.setitem(one, "tokenizer", one["tokenizer"] | {"path": str(tmp_path / "tokenizer")})
    monkeypatch.setitem(one, "model", one["model"] | {"path": str(tmp_path / "model")})
    tower = model.get_vision_tower().vision_tower
    prepare = hub.CLIPImageProcessor.from_pretrained(tmp_path / "tower")

    @torch.no_grad()
    def score(picture: Image.Image, words: str) -> float:
        side = max(picture.size)
        square = Image.new("RGB", (side, side), tuple(int(255 * mean) for mean in prepare.image_mean))
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        seen = tower(prepare(square, return_tensors="pt")["pixel_values"], output_hidden_states=True).hidden_states[-2]
        before, after = (
            torch.tensor([tokenizer(part).input_ids])
            for part in (
                f"{models.SYSTEM_MSG} USER: ",
                f'\nDoes this figure show "{words}"? Please answer yes or no. ASSISTANT: ',
            )
        )
        embed = model.encoder.embed_tokens
        whole = torch.cat([embed(before), model.mm_projector(seen[:, 1:]), embed(after)], 1)
        answer = torch.tensor([tokenizer("Yes").input_ids])
        logits = hub.T5ForConditionalGeneration.forward(model, inputs_embeds=whole, labels=answer).logits
        likely = torch.log_softmax(logits, -1)[0].gather(1, answer[0, :, None])
        return float(likely.mean().exp())

    assert ours("vqa") == pytest.approx(theirs(score), rel=0.05), "in bfloat16, as the package has it"
    scores.scorer_of.cache_clear()
    load = models.load_pretrained_model

    def in_float32(*args: Any, **more: Any) -> Any:
        words, loaded, processor = load(*args, **more)
        return words, loaded.float(), processor

    monkeypatch.setattr(models, "load_pretrained_model", in_float32)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    agree("vqa", theirs(score), 2e-6)
