"""The 4-step model: its schedule, how it is distilled, and what the committed file draws."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "playground" / "model"
pytest.importorskip("ldm", reason="the playground's pins are not in this environment")

from safetensors.torch import load_file  # noqa: E402

from playground.model import distil, nets, store, trajectories, weights  # noqa: E402
from playground.model.load import Model, load  # noqa: E402
from playground.model.scenes import HELD_PAIRS  # noqa: E402

BAR = nets.schedule()["alphas_cumprod"]
FILE = f"{distil.NAME}.safetensors"


@pytest.fixture(scope="module")
def teacher() -> Model:
    return load()


def by_hand(steps: int) -> list[float]:
    """SGM Uniform from its definition, in float64 and plain Python."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    bar = np.cumprod(1.0 - betas)
    logs = np.log((1.0 - bar) / bar) / 2
    times = [999.0 * (steps - i) / steps for i in range(steps)]
    return [math.exp(float(np.interp(t, np.arange(1000), logs))) for t in times] + [0.0]


HOST = """
import json, sys, torch
from types import SimpleNamespace
from modules import sd_samplers, sd_schedulers
assert "SGM Uniform" in sd_schedulers.schedulers
assert sd_samplers.get_sampler_and_scheduler("Euler", "SGM Uniform") == ("Euler", "SGM Uniform")
wrap = sd_schedulers.CompVisDenoiser(SimpleNamespace(alphas_cumprod=torch.tensor(json.load(sys.stdin))))
for steps in (1, 4, 7, 16):
    sigmas = sd_schedulers.SCHEDULES["SGM Uniform"](steps, wrap)
    print(json.dumps([sigmas.tolist(), wrap.sigma_to_t(sigmas[:-1]).tolist()]))
"""


@pytest.fixture(scope="module")
def host() -> dict[int, list[list[float]]]:
    """What the playground's host makes of SGM Uniform: σ and timesteps, by steps."""
    done = subprocess.run(
        [sys.executable, "-c", HOST], cwd=ROOT / "playground" / "host", input=str(BAR.tolist()), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    return dict(zip((1, 4, 7, 16), rows, strict=True))


@pytest.mark.parametrize("steps", [1, 4, 7, 16])
def test_host_and_training_have_the_schedule_of_the_definition(host: dict[int, list[list[float]]], steps: int) -> None:
    grid = trajectories.sgm_uniform(BAR, steps)
    sigmas, timesteps = map(torch.tensor, host[steps])
    expected = torch.tensor(by_hand(steps))
    torch.testing.assert_close(grid.sigmas, expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(sigmas, expected, rtol=1e-4, atol=0)
    # and the host calls the UNet at the timesteps it was trained at
    torch.testing.assert_close(timesteps, grid.timesteps, rtol=0, atol=0.01)


def test_four_steps_are_the_knots_and_the_teacher_passes_them() -> None:
    few, many = (trajectories.sgm_uniform(BAR, n) for n in (4, 16))
    assert few.timesteps.tolist() == [999.0, 749.25, 499.5, 249.75]
    assert torch.equal(many.sigmas[:: trajectories.SUBSTEPS], few.sigmas)


def test_euler_reaches_the_picture_of_a_perfect_denoiser() -> None:
    grid, clean = trajectories.sgm_uniform(BAR, 4), torch.linspace(-1, 1, 1024).view(1, 4, 16, 16)
    noise = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))

    def perfect(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        sigma = grid.sigmas[(grid.timesteps == t[0]).nonzero()[0, 0]]
        return (x * (sigma**2 + 1).sqrt() - clean) / sigma

    levels = trajectories.euler(perfect, noise, torch.zeros(3, 77, 128), grid)
    assert len(levels) == 5
    torch.testing.assert_close(levels[-1], clean.expand(3, -1, -1, -1), rtol=0, atol=1e-4)


def test_guidance_is_uncond_plus_cfg_times_the_difference() -> None:
    grid = trajectories.sgm_uniform(BAR, 1)

    def says(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return context[:, :1, :1, None].expand_as(x)

    noise, cond, uncond = torch.zeros(2, 4, 16, 16), torch.full((2, 77, 128), 3.0), torch.full((1, 77, 128), 1.0)
    end = trajectories.euler(says, noise, cond, grid, uncond, 5.0)[-1]
    torch.testing.assert_close(end, torch.full_like(end, 11.0 * -float(grid.sigmas[0])))
    with pytest.raises(ValueError, match="empty"):
        trajectories.euler(says, noise, cond, grid, None, 5.0)


def test_no_prompt_of_the_distillation_names_a_held_out_pair() -> None:
    texts = trajectories.captions_of(0, 2000, distil.Plan.seed)
    names = [" ".join(pair) for pair in HELD_PAIRS]
    assert not [text for text in texts if any(name in text for name in names)]
    assert any("red circle" in text for text in texts)


def test_trajectories_follow_from_the_seed_and_parts_that_are_there_stay(tmp_path: Path, teacher: Model) -> None:
    lines: list[str] = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trajectories.build(tmp_path / name, teacher, range(1), 1, seed, lines.append)
    a, b, c = (np.load(tmp_path / name / "0.npy") for name in "abc")
    assert a.shape == (5, 1, 4, 16, 16) and a.dtype == np.float16
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    trajectories.build(tmp_path / "a", teacher, range(1), 1, 1, lines.append)
    assert len(lines) == 3, "a part that is there is not drawn again"


class Shift(nn.Module):
    """Always says the same noise, so each jump is known."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(by))

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        return self.by.expand_as(x)


@pytest.mark.parametrize("own", [False, True])
def test_losses_are_the_distance_to_the_teachers_next_knot(own: bool) -> None:
    grid, context = trajectories.sgm_uniform(BAR, 4), torch.zeros(2, 77, 128)
    start = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    # the teacher's path is that of one constant noise, 0.5
    knots = torch.stack([start + 0.5 * (sigma - grid.sigmas[0]) for sigma in grid.sigmas])
    assert distil.losses(Shift(0.5), knots, context, grid, own).abs().max() < 1e-10
    each = distil.losses(Shift(0.7), knots, context, grid, own)
    gone = grid.sigmas[:1] - grid.sigmas[1:] if own else grid.sigmas[:-1] - grid.sigmas[1:]
    torch.testing.assert_close(each, (0.2 * gone * grid.scale()[1:]) ** 2, rtol=1e-3, atol=1e-8)


def test_own_states_carry_no_gradient_from_jump_to_jump() -> None:
    grid, context = trajectories.sgm_uniform(BAR, 4), torch.zeros(1, 77, 128)
    knots, unet = torch.zeros(5, 1, 4, 16, 16), Shift(0.3)
    distil.losses(unet, knots, context, grid, own=True)[1].backward()
    gone, steps = float(grid.sigmas[0] - grid.sigmas[2]), float(grid.sigmas[1] - grid.sigmas[2])
    # d/d(by) of (by * all the way * scale)^2 where only the last jump depends on by
    assert unet.by.grad is not None
    assert float(unet.by.grad) == pytest.approx(2 * 0.3 * gone * steps * float(grid.scale()[2]) ** 2, rel=1e-4)


def test_quick_makes_a_checkpoint_and_goes_on_where_it_stopped(tmp_path: Path, teacher: Model) -> None:
    command = [sys.executable, str(MODEL / "distil.py"), "--out", str(tmp_path), "--quick"]
    first = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert first.returncode == 0, first.stderr
    student = load(tmp_path / "quick" / FILE)
    new, old = student.unet.state_dict(), teacher.unet.state_dict()
    assert sum(not torch.equal(new[name], old[name]) for name in old) > 100, "the UNet was trained"
    for part in ("vae", "text"):
        new, old = getattr(student, part).state_dict(), getattr(teacher, part).state_dict()
        assert all(torch.equal(new[name], old[name]) for name in old), part
    log = (tmp_path / "quick" / "train.log").read_text(encoding="utf-8")
    for kind in distil.KINDS:
        for who, steps, cfg in distil.WAYS:
            assert f"{who}, {steps} steps, CFG {cfg:g}: {kind} (1 prompts)" in log
    assert (tmp_path / "quick" / "contact.png").is_file()
    before = (tmp_path / "quick" / FILE).read_bytes()
    second = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert second.returncode == 0, second.stderr
    assert "student step" not in second.stdout and "trajectories of part" not in second.stdout
    assert (tmp_path / "quick" / FILE).read_bytes() == before
    # and what it made can be kept beside the parts that it shares with its teacher
    folder = shutil.copytree(weights.FOLDER, tmp_path / "weights")
    store.store([tmp_path / "quick" / FILE], folder)
    kept, made = weights.assemble(distil.NAME, folder), load_file(str(tmp_path / "quick" / FILE))
    assert kept.keys() == made.keys() and all(torch.equal(kept[name], made[name]) for name in made)


def test_the_committed_model_draws_in_four_steps_at_cfg_1(teacher: Model) -> None:
    student = load(distil.NAME)
    placed = {}
    for name, model in (("teacher", teacher), ("student", student)):
        line, images = distil.figures(model, "three", 24, 4, 1.0)
        assert len(images) == 24 and images[0].size == (128, 128)
        placed[name] = float(line.split("right ")[1].split()[0])
    assert placed["student"] > placed["teacher"] + 0.05
    assert placed["student"] > 0.8
