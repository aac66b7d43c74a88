"""The wheel has the library alone, and works where nothing else of this repository is: the example, with it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import torch

from lib_pladis import __version__
from tests.models.pipelines import diffusers, unet

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(each) for each in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves folders where it is made."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("lib_pladis", "scripts", "localizations", "javascript", "examples", "playground"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns(".*", "__pycache__", "weights"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "install.py"):
        shutil.copy(ROOT / name, source / name)
    plain = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    run(sys.executable, "-m", "pip", "wheel", *plain, "--wheel-dir", out, source, cwd=out)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment of its own, with the wheel, and what the tests' has besides."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / Path(sys.executable).name
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        wheel,
        cwd=folder,
    )
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    (Path(own) / "tests.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return python


def test_it_has_the_library_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("METADATA"))
    assert wheel.name == f"sd_webui_pladis-{__version__}-py3-none-any.whl"
    assert {name.split("/")[0] for name in names} == {"lib_pladis", f"sd_webui_pladis-{__version__}.dist-info"}
    assert not [name for name in names if "webui/" in name or not re.search(r"\.py$|\.cuh?$|dist-info/", name)]
    assert {"lib_pladis/diffusers.py", "lib_pladis/hosts/diffusers.py"} <= set(names)
    assert re.findall(r"^Requires-Dist: (torch\S*)$", metadata, re.M) == ["torch>=2.1"]
    assert set(re.findall(r"^Provides-Extra: (\w+)$", metadata, re.M)) == {"diffusers", "entmax"}


def test_it_is_found_and_needs_nothing_of_the_web_uis(python: Path, tmp_path: Path) -> None:
    code = (
        "import sys, lib_pladis, lib_pladis.diffusers; "
        "print(lib_pladis.__version__, lib_pladis.__file__); print(*sys.modules)"
    )
    version, file, *modules = run(python, "-I", "-c", code, cwd=tmp_path).split()
    assert version == __version__
    assert Path(file).is_relative_to(python.parents[1])
    assert not {"gradio", "fastapi", "modules", "diffusers", "transformers", "filelock"} & set(modules)


def test_the_example_runs_with_it(python: Path, tmp_path: Path) -> None:
    assert len((ROOT / "examples/diffusers_pipeline.py").read_text(encoding="utf-8").splitlines()) == 15
    shutil.copy(ROOT / "examples/diffusers_pipeline.py", tmp_path)
    save_tiny_pipeline(tmp_path / "model")
    out = run(python, "-I", "diffusers_pipeline.py", "model", "a red cube", cwd=tmp_path)
    assert re.search(r"^PLADIS: not applied: λ is 0$", out, re.M)
    assert re.search(r"^PLADIS: λ=2.00 α=1.50 on 4 of 4 cross-attention layers, 200 calls in 50 of 50 steps", out, re.M)
    assert (tmp_path / "plain.png").read_bytes() != (tmp_path / "pladis.png").read_bytes()


def save_tiny_pipeline(folder: Path) -> None:
    """A Stable Diffusion with random weights, as `from_pretrained` reads it."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that are their own letters; the others follow
    letters = [*map(chr, shown), *map(chr, range(256, 512 - len(shown)))]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}
    text = CLIPTextConfig(vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                          num_attention_heads=2, **ends)  # fmt: skip
    tiny = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "latent_channels": 4}
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(**tiny, **kinds), text_encoder=CLIPTextModel(text), unet=unet(),
        tokenizer=CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77),
        scheduler=diffusers.DDIMScheduler(clip_sample=False, steps_offset=1), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
