"""The weights in the tree: each part once, and full checkpoints from them that are the trained ones."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("ldm", reason="the playground's pins are not in this environment")

from omegaconf import OmegaConf  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from playground.model import checkpoint, distil, export, sampler, store, trajectories, weights  # noqa: E402
from playground.model.load import Model, load  # noqa: E402
from playground.model.scenes import caption, sample  # noqa: E402
from playground.model.train_text import Vocabulary  # noqa: E402

MOST_BYTES = 25_000_000
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


def test_the_weights_are_no_more_than_25_mb() -> None:
    kinds = (".safetensors", ".ckpt", ".pt", ".bin", ".npy", ".npz")
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
        assert path.with_suffix(".yaml").read_text(encoding="utf-8").count(checkpoint.CLIP_FOLDER) == 1
    assert (exported / clip / "config.json").is_file()


def test_a_part_that_is_missing_is_said_and_nothing_is_exported(tmp_path: Path) -> None:
    part = shutil.copytree(weights.FOLDER, tmp_path / "weights") / "vae.safetensors"
    part.unlink()
    with pytest.raises(FileNotFoundError, match=r"vae\.safetensors"):
        export.export(tmp_path / "there", tmp_path / "weights")
    assert not (tmp_path / "there").exists()
    with pytest.raises(FileNotFoundError, match=r"by name there are pladis-playground, pladis-playground-4step"):
        load("pladis-playground-5step")


def test_the_settings_are_those_that_training_would_write() -> None:
    written = OmegaConf.load(weights.FOLDER / weights.SETTINGS)
    assert written == OmegaConf.create(checkpoint.config(load().scale_factor))


def test_the_trained_tokens_are_the_captions_and_all_others_read_one_row() -> None:
    model = load()
    trained = load_file(str(weights.FOLDER / "text.safetensors"))[weights.TRAINED_IDS]
    assert trained.tolist() == Vocabulary(model.text.tokenizer).ids
    embedding = model.text.transformer.text_model.embeddings.token_embedding.weight
    assert embedding.shape == (weights.TOKENS, 128)
    others = torch.ones(weights.TOKENS, dtype=torch.bool)
    others[trained.long()] = False
    assert torch.unique(embedding[others], dim=0).shape[0] == 1
    assert torch.unique(embedding, dim=0).shape[0] == len(trained) + 1


def drawn(model: Model, prompts: list[str], steps: int, cfg: float) -> list[bytes]:
    """Pictures of `prompts`, one at a time, Euler on SGM Uniform, noise from seed 7 on."""
    grid, empty, images = trajectories.sgm_uniform(model.alphas_cumprod, steps), model.text([""]), []
    for i, prompt in enumerate(prompts):
        noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7 + i))

        def denoise(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
            return model.unet(x, t, context=context)

        with torch.no_grad():
            end = trajectories.euler(denoise, noise, model.text([prompt]), grid, empty, cfg)[-1]
        images += sampler.pictures(model.vae, end, model.scale_factor)
    return [image.tobytes() for image in images]


@pytest.mark.parametrize(("name", "cfg"), [(weights.NAME, 5.0), (distil.NAME, 1.0)])
def test_the_exported_file_draws_the_pictures_of_the_model(exported: Path, name: str, cfg: float) -> None:
    rng = random.Random("weights")
    prompts = [caption(sample(rng), rng), caption(sample(rng, "distractors"), rng), UNKNOWN]
    here, there = load(name), load(exported / f"{name}.safetensors")
    assert here.scale_factor == there.scale_factor
    pictures = drawn(here, prompts, 4, cfg)
    assert pictures == drawn(there, prompts, 4, cfg)
    assert len(set(pictures)) == len(prompts)
    assert here.filename == f"{name}.safetensors" and there.filename == str(exported / here.filename)
    assert here.sha256 == there.sha256 == FILES[name]


def test_the_host_names_the_model_as_a_webui_names_the_exported_file() -> None:
    code = (
        "import sys; sys.path.append('..')\n"
        "from modules import sd_models\n"
        f"sd_models.list_models({distil.NAME!r})\n"
        f"info = sd_models.load_model({distil.NAME!r}).sd_checkpoint_info\n"
        "print(info.title, *sd_models.checkpoints_list, sep='\\n')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-c", code]
    done = subprocess.run(
        run, cwd=ROOT / "playground" / "host", capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-3:-1] == [f"{distil.NAME}.safetensors [{FILES[distil.NAME][:10]}]"] * 2


def test_storing_an_exported_file_gives_the_parts_again(exported: Path, tmp_path: Path) -> None:
    written = store.store([exported / f"{name}.safetensors" for name in weights.UNETS], tmp_path)
    assert {path.name for path in written} == {path.name for path in weights.FOLDER.iterdir()}
    for path in written:
        there = weights.FOLDER / path.name
        if path.suffix == ".safetensors":
            assert equal(load_file(str(path)), load_file(str(there))), path.name
        else:
            assert path.read_text(encoding="utf-8") == there.read_text(encoding="utf-8")


def test_storing_refuses_models_that_do_not_share_what_is_stored_once(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(weights.FOLDER, tmp_path / "weights")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for key in ("alphas_cumprod", f"{weights.TEXT_PREFIX}text_model.final_layer_norm.bias", "decoder.conv_in.bias"):
        key = f"{weights.VAE_PREFIX}{key}" if key.startswith("decoder") else key
        tensors = weights.assemble(distil.NAME)
        tensors[key] = tensors[key] + 1
        other = tmp_path / f"{distil.NAME}.safetensors"
        save_file(tensors, str(other))
        shutil.copy(exported / f"{distil.NAME}.yaml", tmp_path)
        for files in ([other], [other, exported / f"{weights.NAME}.safetensors"]):
            with pytest.raises(ValueError, match="do not have the same"):
                store.store(files, folder)
    with pytest.raises(ValueError, match="the models are"):
        store.store([exported / f"{weights.NAME}-7step.safetensors"], folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_new_unet_is_stored_beside_the_parts_that_stay(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(weights.FOLDER, tmp_path / "weights")
    tensors = weights.assemble(distil.NAME)
    key = f"{weights.UNET_PREFIX}out.2.bias"
    tensors[key] = tensors[key] + 1
    new = tmp_path / f"{distil.NAME}.safetensors"
    save_file(tensors, str(new))
    shutil.copy(exported / f"{distil.NAME}.yaml", tmp_path)
    store.store([new], folder)
    assert equal(weights.assemble(distil.NAME, folder), tensors)
    assert equal(weights.assemble(weights.NAME, folder), weights.assemble(weights.NAME))
