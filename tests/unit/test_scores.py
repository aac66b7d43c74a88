"""What scores pictures: the exact scorer, and those of real models with stand-ins for their packages."""

from __future__ import annotations

import random
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks.align import prompts, scores
from playground.model.scenes import Object, Scene, render


def test_exact_scorer_tells_a_true_drawing_from_a_swapped_one() -> None:
    left, right = Object("red", "circle", "left", 34, 64, 44), Object("blue", "square", "right", 94, 64, 44)
    scene = Scene((left, right), "relation")
    swapped = Scene(
        (Object("blue", "circle", "left", 34, 64, 44), Object("red", "square", "right", 94, 64, 44)), "relation"
    )
    prompt = prompts.Prompt("a red circle left of a blue square", "one", scene)
    good = scores.exact(render(scene, random.Random(0)), prompt)
    bad = scores.exact(render(swapped, random.Random(0)), prompt)
    assert good["right"] == good["all right"] == good["binding"] == good["clean"] == 1
    assert bad["right"] == bad["all right"] == bad["binding"] == 0
    assert bad["colour"] == bad["shape"] == bad["position"] == 1


def test_a_missing_package_is_named() -> None:
    usable, reasons = scores.available(("exact", "hps"))
    assert "exact" in usable
    assert usable == ["exact", "hps"] or "hpsv2" in reasons[0]


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Stand-ins for the scorers' packages, which want weights of gigabytes: what is asked of them, and the scale."""
    seen = []

    class Clip:
        def to(self, device: Any) -> Any:
            return self

        def eval(self) -> Any:
            return self

        def encode_image(self, pixels: Any) -> Any:
            return pixels.flatten(1)

        def encode_text(self, tokens: Any) -> Any:
            return tokens

    def prepare(picture: Any) -> Any:
        seen.append(picture.mode)
        return torch.tensor([3.0, 4.0])

    class Reward:
        def score(self, prompt: Any, picture: Any) -> Any:
            seen.append((prompt, picture.mode))
            return 0.25

    class Hps(Clip):
        def load_state_dict(self, state: Any) -> None:
            seen.append(("weights", state))

        def __call__(self, pixels: Any, tokens: Any) -> Any:
            return {"image_features": torch.tensor([[0.0, 1.0]]), "text_features": torch.tensor([[0.3, 0.27]])}

    def create(name: str, pretrained: Any, force_quick_gelu: Any) -> Any:
        seen.append((name, pretrained, force_quick_gelu))
        return Clip(), None, prepare

    def tokenizer(name: str) -> Any:
        return lambda texts: torch.tensor([[6.0, 0.0]])

    def download(repository: Any, file: Any) -> Any:
        seen.append((repository, file))
        torch.save({"state_dict": {"a": 1}}, tmp_path / file)
        return tmp_path / file

    def question(model: str, device: Any, cache_dir: Any) -> Any:
        seen.append((model, cache_dir))

        def answer(images: list[str], texts: list[str]) -> Any:
            with Image.open(images[0]) as picture:
                seen.append((texts, picture.mode))
            return torch.tensor([[0.75]])

        return answer

    img_score: Any = types.SimpleNamespace(
        device="cpu",
        initialize_model=lambda: img_score.model_dict.update(model=Hps(), preprocess_val=prepare),
        model_dict={},
        get_tokenizer=tokenizer,
    )
    fakes: dict[str, dict[str, Any]] = {
        "open_clip": {"create_model_and_transforms": create, "get_tokenizer": tokenizer},
        "ImageReward": {"load": lambda name: Reward()},
        "hpsv2": {"img_score": img_score, "utils": types.SimpleNamespace(hps_version_map={"v2.1": "weights.pt"})},
        "huggingface_hub": {"hf_hub_download": download},
        "huggingface_hub.constants": {"HF_HUB_CACHE": "the common cache"},
        "t2v_metrics": {"VQAScore": question},
    }
    for name, members in fakes.items():
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**members))
    scores.scorer_of.cache_clear()
    yield seen
    scores.scorer_of.cache_clear()


def test_scorers_of_real_models_give_the_papers_scales(packages: Any) -> None:
    picture = Image.new("RGBA", (8, 8))
    numbers = scores.judge(list(scores.REAL), picture, prompts.Prompt("a cat", "single"))
    assert numbers == pytest.approx({"CLIPScore": 60.0, "ImageReward": 0.25, "HPSv2": 27.0, "VQAScore": 0.75})
    assert packages == [
        ("ViT-L-14", "openai", True),
        "RGB",
        ("a cat", "RGB"),
        ("xswu/HPSv2", "weights.pt"),
        ("weights", {"a": 1}),
        "RGB",
        ("clip-flant5-xl", "the common cache"),
        (["a cat"], "RGB"),
    ]
    scores.judge(["hps"], picture, prompts.Prompt("a dog", "single"))
    assert packages[8:] == ["RGB"], "the weights are read once"


@pytest.mark.parametrize("error", [RuntimeError("ffmpeg is missing"), AttributeError("no such layer"), OSError("lost")])
@pytest.mark.parametrize(
    "name, module", [("clip", "open_clip"), ("imagereward", "ImageReward"), ("hps", "hpsv2"), ("vqa", "t2v_metrics")]
)
def test_a_package_that_does_not_fit_what_is_beside_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, module: str, error: Exception
) -> None:
    (tmp_path / f"{module}.py").write_text(f"raise {type(error).__name__}({str(error)!r})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, module, raising=False)
    scores.scorer_of.cache_clear()
    usable, (reason,) = scores.available((name,))
    assert not usable and reason.startswith(f"{name} needs ") and str(error) in reason


def test_a_package_that_lacks_a_file_is_named(monkeypatch: pytest.MonkeyPatch, packages: Any) -> None:
    """hpsv2 1.2.0 comes without its vocabulary, and says so when it is imported."""

    class Broken(types.ModuleType):
        def __getattr__(self, name: str) -> None:
            raise FileNotFoundError("bpe_simple_vocab_16e6.txt.gz")

    monkeypatch.setitem(sys.modules, "hpsv2", Broken("hpsv2"))
    assert scores.available(("hps",)) == (
        [], ["hps needs the package hpsv2, with its vocabulary (bpe_simple_vocab_16e6.txt.gz)"]
    )  # fmt: skip
