"""Joint attention against the formula over the whole matrix in fp64."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_pladis import joint as joint_module
from lib_pladis import joint_attention, limits
from lib_pladis.joint import Plain, joint, text_weights
from lib_pladis.kernels import dense
from lib_pladis.kernels.choice import Kernels
from lib_pladis.math.rule import Mix
from tests.oracle import joint_weights, reference

BATCH, HEADS, TEXT, IMAGE, DIM = 2, 3, 20, 50, 16
KEYS = TEXT + IMAGE
IMAGE_QUERIES = slice(TEXT, None)


def inputs(dtype: torch.dtype = torch.float32, spread: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    query, key, value = (torch.randn(BATCH, HEADS, KEYS, DIM, generator=generator) for _ in range(3))
    return (query * spread).to(dtype), key.to(dtype), value.to(dtype)


def masks(text: Any, image: slice = IMAGE_QUERIES) -> tuple[Tensor, Tensor]:
    columns = torch.zeros(BATCH, KEYS, dtype=torch.bool)
    columns[:, text] = True
    queries = torch.zeros(KEYS, dtype=torch.bool)
    queries[image] = True
    return columns, queries


@pytest.mark.parametrize("text", [slice(0, TEXT), slice(4, 12)])
def test_every_other_query_with_a_mask(text: slice) -> None:
    """torch's attention gives no log-sum-exp with a mask: it is computed, for these queries alone."""
    query, key, value = inputs()
    mask = torch.rand(KEYS, KEYS, generator=torch.Generator().manual_seed(1)) > 0.2
    image = slice(TEXT, None, 2)
    found = joint_attention(query, key, value, text_keys=text, image_queries=image, attn_mask=mask)
    weights, _ = joint_weights(query, key, *masks(text, image), attn_mask=mask)
    assert (found.double() - weights @ value.double()).abs().max() < 2e-5


PREFIX = torch.zeros(KEYS, dtype=torch.bool)
PREFIX[:7] = True
SCATTERED = torch.zeros(KEYS, dtype=torch.bool)
SCATTERED[[0, 3, 4, 11, 19]] = True
BY_ROW = torch.stack([PREFIX, SCATTERED])


@pytest.mark.parametrize(
    "text_keys",
    [
        slice(0, TEXT),
        slice(0, 6),
        slice(-5, None),
        slice(-9, None),
        slice(4, 30),
        slice(None),
        PREFIX,
        SCATTERED,
        BY_ROW,
    ],
)
@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0])
def test_it_is_the_matrix_formula(text_keys: Any, alpha: float) -> None:
    query, key, value = inputs()
    out = joint_attention(query, key, value, text_keys=text_keys, image_queries=IMAGE_QUERIES, alpha=alpha)
    by_row = isinstance(text_keys, Tensor) and text_keys.dim() == 2
    columns = text_keys if by_row else masks(text_keys)[0]
    weights, plain = joint_weights(query, key, columns, masks(0)[1], alpha=alpha)
    assert (weights.sum(-1) - 1).abs().max() < 1e-9
    assert (out.double() - weights @ value.double()).abs().max() < 1e-5
    assert (weights - plain).abs().max() > 0.05, "there must be something to see"


@pytest.mark.parametrize("temperature, scale", [(0.5, None), (2.0, 0.1)])
def test_temperature_and_scale(temperature: float, scale: float | None) -> None:
    query, key, value = inputs()
    given = dict(temperature=temperature, scale=scale)
    out = joint_attention(query, key, value, text_keys=PREFIX, image_queries=IMAGE_QUERIES, **given)  # type: ignore[arg-type]
    weights, _ = joint_weights(query, key, *masks(slice(0, 7)), **given)  # type: ignore[arg-type]
    assert (out.double() - weights @ value.double()).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["bool", "float"])
def test_a_mask_holds_for_all_keys(kind: str) -> None:
    query, key, value = inputs()
    allowed = torch.rand(BATCH, 1, KEYS, KEYS, generator=torch.Generator().manual_seed(1)) > 0.3
    allowed[..., :2] = True
    mask = allowed if kind == "bool" else torch.where(allowed, 0.0, -3.0)
    out = joint_attention(query, key, value, text_keys=BY_ROW, image_queries=IMAGE_QUERIES, attn_mask=mask)
    weights, _ = joint_weights(query, key, BY_ROW, masks(0)[1], attn_mask=mask)
    assert (out.double() - weights @ value.double()).abs().max() < 1e-5


@pytest.mark.parametrize("text_keys", [PREFIX, slice(0, TEXT)], ids=["changed", "joined"])
def test_text_queries_stay_bit_for_bit(text_keys: Any) -> None:
    query, key, value = inputs()
    out = joint_attention(query, key, value, text_keys=text_keys, image_queries=IMAGE_QUERIES)
    plain = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    assert torch.equal(out[:, :, :TEXT], plain[:, :, :TEXT])
    assert not torch.equal(out[:, :, TEXT:], plain[:, :, TEXT:])


def test_the_mass_on_the_text_is_kept() -> None:
    """With the text's indicator for a value the output is the mass."""
    query, key, value = inputs()
    value[..., :] = 0.0
    value[:, :, :7] = 1.0
    out = joint_attention(query, key, value, text_keys=PREFIX, image_queries=IMAGE_QUERIES, pladis_scale=3.0)
    mass = torch.nn.functional.scaled_dot_product_attention(query.double(), key.double(), value.double())
    assert (out - mass).abs().max() < 1e-5
    assert mass.min() < 0.2 and mass.max() > 0.8


@pytest.mark.parametrize("text_keys", [PREFIX, slice(0, 7)], ids=["changed", "joined"])
def test_rescale_is_of_the_texts_part(text_keys: Any) -> None:
    query, key, value = inputs()
    out = joint_attention(query, key, value, text_keys=text_keys, image_queries=slice(0, None), rescale=0.7)
    q, k, v = query.double(), key.double(), value.double()
    dense_weights = torch.softmax(q @ k.transpose(-1, -2) / DIM**0.5, -1)
    mass = dense_weights[..., :7].sum(-1, keepdim=True)
    rest = dense_weights[..., 7:] @ v[:, :, 7:]
    assert (out.double() - rest - mass * reference(q, k[:, :, :7], v[:, :, :7], rescale=0.7)).abs().max() < 1e-5


def test_rows_without_text_and_plain_mixes_are_torchs_own() -> None:
    query, key, value = inputs()
    plain = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    none = torch.stack([PREFIX, torch.zeros_like(PREFIX)])
    out = joint_attention(query, key, value, text_keys=none, image_queries=IMAGE_QUERIES)
    assert torch.equal(out[1], plain[1]) and not torch.equal(out[0], plain[0])
    same = joint_attention(query, key, value, text_keys=PREFIX, image_queries=IMAGE_QUERIES, pladis_scale=0.0)
    assert torch.equal(same, plain)


def test_rows_with_much_text_little_and_none() -> None:
    query, key, value = inputs()
    query, key, value = (torch.cat([each, each[:1]]) for each in (query, key, value))
    text = [slice(0, TEXT), slice(0, 0), slice(0, 3)]
    out = joint(Kernels(), query, key, value, Mix(), text, slice(TEXT, 60)).out
    columns = torch.zeros(3, KEYS, dtype=torch.bool)
    columns[0, :TEXT] = columns[2, :3] = True
    weights, _ = joint_weights(query, key, columns, masks(0, slice(TEXT, 60))[1])
    assert (out.double() - weights @ value.double()).abs().max() < 1e-5
    plain = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    assert torch.equal(out[1], plain[1]) and torch.equal(out[:, :, 60:], plain[:, :, 60:])


def test_scores_of_much_text_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = inputs()
    asked = []

    def seen(query: Tensor, key: Tensor, *rest: Any) -> Any:
        asked.append(key.shape[2])
        return dense.plain_with_lse(query, key, *rest)

    monkeypatch.setattr("lib_pladis.joint.plain_with_lse", seen)
    for columns in (slice(0, 7), slice(0, 3), slice(None)):
        joint_attention(query, key, value, text_keys=columns, image_queries=IMAGE_QUERIES)
    assert asked == [KEYS - 7, KEYS]


def test_one_key_alone_has_nothing_to_share() -> None:
    query, key, value = inputs()
    out = joint_attention(query, key, value, text_keys=slice(0, 1), image_queries=IMAGE_QUERIES)
    plain = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    assert (out - plain).abs().max() < 1e-6


@pytest.mark.parametrize("text_keys", [PREFIX, slice(0, 7)], ids=["changed", "joined"])
@pytest.mark.parametrize("dtype, bound", [(torch.float16, 4e-3), (torch.bfloat16, 3e-2)])
def test_half_precision(dtype: torch.dtype, bound: float, text_keys: Any) -> None:
    query, key, value = inputs(dtype)
    out = joint_attention(query, key, value, text_keys=text_keys, image_queries=IMAGE_QUERIES)
    weights, _ = joint_weights(query, key, *masks(slice(0, 7)))
    assert out.dtype == dtype
    assert (out.double() - weights @ value.double()).abs().max() < bound


def test_cross_attention_whose_other_keys_are_padding() -> None:
    query, key, value = inputs()
    query = query[:, :, :33]
    out = joint_attention(query, key, value, text_keys=PREFIX, image_queries=slice(None))
    weights, _ = joint_weights(query, key, masks(slice(0, 7))[0], torch.ones(33, dtype=torch.bool))
    assert (out.double() - weights @ value.double()).abs().max() < 1e-5


def test_without_torchs_log_sum_exp_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = inputs()
    given: dict[str, Any] = dict(text_keys=PREFIX, image_queries=IMAGE_QUERIES)
    quick = joint_attention(query, key, value, **given)
    monkeypatch.setattr(dense, "_WITH_LSE", {})
    monkeypatch.setattr(limits, "LSE_CHUNK_SCORES", 700)
    assert (joint_attention(query, key, value, **given) - quick).abs().max() < 1e-5


@pytest.mark.parametrize("text_keys", [BY_ROW, slice(0, TEXT)], ids=["changed", "joined"])
def test_heads_in_groups_are_the_same(text_keys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = inputs()
    given: dict[str, Any] = dict(text_keys=text_keys, image_queries=IMAGE_QUERIES)
    whole = joint_attention(query, key, value, **given)
    monkeypatch.setattr("lib_pladis.limits.ADDED_BYTES", {"cpu": 1})
    assert (joint_attention(query, key, value, **given) - whole).abs().max() < 1e-6


@pytest.mark.parametrize("mask", ["none", "bool", "float"])
@pytest.mark.parametrize("texts", [(slice(0, TEXT), slice(0, 2)), (slice(4, 30), slice(-9, None))])
def test_text_weights_are_those_of_the_whole_row(texts: tuple[slice, slice], mask: str) -> None:
    """Of each row its own text, as Look inside asks; the text's share of the row is in them."""
    query, key, value = inputs()
    kept = torch.rand(BATCH, 1, KEYS, KEYS, generator=torch.Generator().manual_seed(1)) > 0.3
    kept[..., [0, 4, -1]] = True
    kept[0, :, -1, : TEXT + 10] = False  # a row that sees no text
    given = {"none": None, "bool": kept, "float": torch.where(kept, 0.0, -3.0)}[mask]
    own = torch.stack([torch.zeros(KEYS, dtype=torch.bool) for _ in texts])
    for row, text in enumerate(texts):
        own[row, text] = True
    image = slice(TEXT, KEYS)
    blended, dense = (each[:, :, image] for each in joint_weights(query, key, own, masks(0)[1], attn_mask=given))
    for row, text in enumerate(texts):
        one = slice(row, row + 1)
        of_row = None if given is None else given[one]
        found = text_weights(query[one], key[one], value[one], Mix(), text, image, of_row, DIM**-0.5)
        assert found is not None and (blended - dense)[row][..., text].nan_to_num().abs().max() > 0.01
        assert (found.blended[0] - blended[row][..., text].mean(0).nan_to_num()).abs().max() < 1e-5
        assert (found.dense[0] - dense[row][..., text].mean(0)).abs().max() < 1e-5


def test_text_weights_of_no_text_or_no_queries_are_none() -> None:
    given = (*inputs(), Mix())
    assert text_weights(*given, slice(0, 0), IMAGE_QUERIES, None, 1.0) is None
    assert text_weights(*given, slice(0, 7), slice(KEYS, None), None, 1.0) is None


@pytest.mark.parametrize("image", [slice(3, 3), slice(3, 2), slice(KEYS, None)])
@pytest.mark.parametrize("text", [slice(0, TEXT), slice(0, 2)])
def test_without_queries_of_the_picture_it_is_plain(monkeypatch: pytest.MonkeyPatch, image: slice, text: slice) -> None:
    """torch's attention for CPUs ends the process, or never comes back, where it is given no queries."""

    def given_none(*args: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(joint_module, "plain_with_lse", given_none)
    query, key, value = inputs()
    found = joint_attention(query, key, value, text_keys=text, image_queries=image)
    assert torch.equal(found, torch.nn.functional.scaled_dot_product_attention(query, key, value))


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(text_keys=torch.zeros(KEYS)), "text_keys: got torch.float32"),
        (
            dict(text_keys=torch.zeros(3, dtype=torch.bool)),
            r"text_keys: got shape \(3,\), allowed: \(70,\) or \(2, 70\)",
        ),
        (dict(text_keys=slice(0, 9, 2)), "text_keys: got slice"),
        (dict(text_keys=7), "text_keys: got int"),
        (dict(image_queries=3), "image_queries: got 3"),
        (dict(image_queries=slice(None, None, -1)), "image_queries: got slice.*allowed: a slice that runs forwards"),
        (dict(alpha=3.0), "alpha: got 3.0"),
        (dict(backend="x"), "backend: got 'x'"),
    ],
)
def test_bad_arguments_are_named(wrong: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = dict(text_keys=PREFIX, image_queries=IMAGE_QUERIES)
    with pytest.raises(ValueError, match=message):
        joint_attention(*inputs(), **{**given, **wrong})


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's count of resident memory")
def test_extra_memory_is_bounded() -> None:
    """FLUX at 1024²: at most 64 MiB beyond what torch's attention takes. The scores would be 2 GiB."""
    code = """if True:
        import ctypes, re, sys, torch
        from lib_pladis import joint_attention, limits
        torch.set_num_threads(1)
        q, k, v = torch.randn(3, 1, 24, 4608, 128)
        def joint(q, k, v):
            return joint_attention(q, k, v, text_keys=slice(0, 512), image_queries=slice(512, None))
        plain = torch.nn.functional.scaled_dot_product_attention
        def resident(name):
            return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read()).group(1)) // 1024
        def peak(attention):
            attention(*(x[:, :, -600:] for x in (q, k, v)))
            ctypes.CDLL(None).malloc_trim(0)
            open("/proc/self/clear_refs", "w").write("5")
            before = resident("VmRSS")
            result = attention(q, k, v)
            return resident("VmHWM") - before
        dense, ours = peak(plain), peak(joint)
        assert dense >= q.numel() * 4 // 2**20 // 2, "the peak is counted"
        print(dense, ours)
        assert ours - dense <= 64, (dense, ours)
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)


def test_memory_that_ran_out_is_not_taken_for_a_missing_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("full")

    monkeypatch.setattr(dense, "_WITH_LSE", {"cpu": (full,)})
    query, key, value = (torch.randn(1, 1, 4, 8) for _ in range(3))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        dense.plain_with_lse(query, key, value, None, 1.0, slice(None))


@pytest.mark.parametrize(
    "text", [slice(0, TEXT), slice(0, 1), [slice(0, TEXT), slice(0, 0)], [slice(0, 1), slice(0, 0)]]
)
def test_what_is_not_blended_is_the_hosts_own(text: Any) -> None:
    """Where the text is much of a row and where it isn't, and in a row that has none."""
    query, key, value = inputs()

    def own(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(query, key, value) + 7.0

    def result(mask: Tensor | None, own: Plain | None) -> Tensor:
        return joint(Kernels("torch"), query, key, value, Mix(), text, IMAGE_QUERIES, mask, own=own).out

    usual, found = result(None, None), result(None, own)
    blended = torch.ones(BATCH, KEYS, dtype=torch.bool)
    blended[:, :TEXT] = False
    if isinstance(text, list):
        blended[1] = False
    off = (found - usual).amax((1, 3)), (found - usual).amin((1, 3))
    for each in off:
        torch.testing.assert_close(each, torch.where(blended, 0.0, 7.0), rtol=0, atol=2e-5)
    mask = torch.ones(KEYS, KEYS, dtype=torch.bool)
    assert torch.equal(result(mask, own), result(mask, None))
