"""Looking inside a real `ldm` U-Net, by both adapters: maps and sums against the attention computed in fp64."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lib_pladis.facts import Conditions
from lib_pladis.hosts.a1111 import A1111Model
from lib_pladis.hosts.forge import ForgeModel
from lib_pladis.run.probe import KINDS, Columns, Probe
from tests.host.first_step import first_step
from tests.oracle import entmax_by_bisection

ALPHA, SCALE, KEYS = 1.5, 2.0, 77
KINDS_OF = ("start", *["words"] * 6, "end", *["padding"] * 69)
ONE = Columns({"red": (1,), "blue square": (4, 5)}, KINDS_OF)
OTHER = Columns({"red": (2, 3)}, KINDS_OF)
WORDS = ("red", "blue square")


def probe_of(texts: Any) -> Probe:
    return Probe(WORDS, lambda index, hires: texts)


class Recorder:
    """What goes into every attn2 while the network runs: {module: [(x, context)]}, once each call."""

    def __init__(self, modules: dict[str, Any]) -> None:
        self.seen: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
        self.modules = modules
        self._handles = [module.to_q.register_forward_pre_hook(self._note(path)) for path, module in modules.items()]

    def _note(self, path: str) -> Any:
        def note(module: Any, args: Any) -> None:
            self.seen[path].append(args[0].detach().clone())

        return note

    def stop(self) -> None:
        for handle in self._handles:
            handle.remove()


def expected(module: Any, x: Any, context: Any) -> tuple[Any, Any, Any]:
    """Dense and sparse maps of one row, (heads, queries, keys) in fp64, and the blend."""
    x, context = x.double(), context.double()  # fp64 throughout
    heads = module.heads
    q, k = (part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in (
        x @ module.to_q.weight.detach().double().T, context @ module.to_k.weight.detach().double().T))  # fmt: skip
    logits = q @ k.transpose(1, 2) * module.scale
    dense = logits.softmax(-1)
    sparse = entmax_by_bisection(logits, ALPHA)
    return dense, sparse, SCALE * sparse + (1 - SCALE) * dense


def by_word(weights: Any, columns: Columns, word: str) -> Any:
    return sum(weights.mean(0)[:, column] for column in columns.words[word])


def test_maps_and_sums_are_those_of_the_attention_in_fp64(sd_model: Any, unet: Any, inputs: Any, attn2_of: Any) -> None:
    batch = inputs(4)  # two pictures, positive and negative
    texts = [[ONE], [OTHER]]
    recorder = Recorder(attn2_of(unet))
    size = tuple(batch.x.shape[-2:])
    seen_by_host = Conditions(batch.context[:2], batch.context[2:])
    with first_step(A1111Model(sd_model), conditions=seen_by_host, probe=probe_of(texts), size=size) as session:
        batch.run(unet)
    recorder.stop()
    (seen,) = session.probe.passes.values()
    assert seen.grid == size and session.probe.why_not == {}

    layers = A1111Model(sd_model).layers
    maps: dict[Any, Any] = defaultdict(list)
    for name, layer in layers.items():
        path = next(path for path, module in recorder.modules.items() if module is layer.module)
        first, *rest = recorder.seen[path]
        whole = max([first, *rest], key=len)  # the call that makes the picture; the others look at one row each
        assert len(whole) == 4 and len(rest) == 2
        rows = []
        for picture, (columns,) in enumerate(texts):
            dense, sparse, blend = expected(layer.module, whole[picture], batch.context[picture])
            side = round(dense.shape[1] ** 0.5)
            for word in columns.words:
                both = torch.stack([by_word(each, columns, word) for each in (dense, blend)]).view(1, 2, side, side)
                mode: Any = {"mode": "bilinear", "align_corners": False}
                maps[picture, word, name.side].append(F.interpolate(both, size=size, **mode)[0])
            kinds = [[each.mean(0)[:, [i for i, k in enumerate(KINDS_OF) if k == kind]].sum(1).mean() for kind in KINDS]
                     for each in (dense, blend)]  # fmt: skip
            entropy = [torch.special.entr(each).sum(-1).mean() for each in (dense, sparse)]
            rows.append((torch.tensor(kinds), torch.stack([(sparse > 0).double().sum(-1).mean(), *entropy])))
        sums = seen.layers["first", name]
        assert (sums.calls, sums.keys) == (2, KEYS)
        assert torch.allclose(sums.by_kind.double() / 2, sum(kinds for kinds, _ in rows) / 2, atol=2e-5)
        by_row = sum(row for _, row in rows) / 2
        assert torch.allclose(sums.by_row.double()[1:] / 2, by_row[1:], atol=1e-4)
        assert abs(float(sums.by_row[0] / 2 - by_row[0])) < 0.05, "a key at the threshold may fall on either side"
    assert {(picture, word) for picture, word, _ in maps} == {(0, "red"), (0, "blue square"), (1, "red")}
    for (picture, word, side), parts in maps.items():
        found = seen.maps[picture, "first", side]
        i = WORDS.index(word)
        assert int(found.seen[i]) == len(parts)
        assert torch.allclose(found.mean[:, i].double(), sum(parts) / len(parts), atol=2e-5)
    assert int(seen.maps[1, "first", "d"].seen[1]) == 0, "a word that a picture's prompt hasn't"


def test_looking_changes_nothing(sd_model: Any, unet: Any, inputs: Any) -> None:
    outputs = []
    batch = inputs(2)
    seen = Conditions(batch.context[:1], batch.context[1:])
    for texts in (None, [[ONE]]):
        probe = None if texts is None else probe_of(texts)
        with first_step(A1111Model(sd_model), conditions=seen, probe=probe) as session:
            outputs.append(batch.run(unet))
        assert session.passes[0].calls_seen == session.passes[0].calls_blended == 10
    assert torch.equal(*outputs)


def test_without_words_the_layers_are_told_all_the_same(sd_model: Any, unet: Any, inputs: Any) -> None:
    batch = inputs(2)
    probe = Probe((), lambda index, hires: [[Columns({}, ())]])
    seen = Conditions(batch.context[:1], batch.context[1:])
    with first_step(A1111Model(sd_model), conditions=seen, probe=probe):
        batch.run(unet)
    assert len(probe.passes["first"].layers) == 10 and probe.passes["first"].maps == {}


def test_forge_rows_come_part_by_part_the_last_first(unet: Any, attn2_of: Any) -> None:
    """Two pictures of two parts each, and a negative: chunks [negative, second part, first part]."""
    patcher = SimpleNamespace(model=SimpleNamespace(diffusion_model=unet), model_options={"transformer_options": {}})
    sd_model = SimpleNamespace(forge_objects=SimpleNamespace(unet=patcher), is_sd1=True)
    texts = [[ONE, OTHER], [ONE, OTHER]]
    probe = probe_of(texts)
    added: list[tuple[int, int, float]] = []
    add = probe.add

    def note(layer: Any, picture: int, part: int, weights: Any) -> None:
        added.append((picture, part, round(float(weights.dense[0, 0, 0]), 5)))
        add(layer, picture, part, weights)

    probe.add = note  # type: ignore[method-assign, assignment]
    module = next(iter(attn2_of(unet).values()))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 16, module.to_q.in_features, generator=generator)
    context = torch.randn(6, KEYS, module.to_k.in_features, generator=generator) * 3
    with first_step(ForgeModel(sd_model), probe=probe):
        replacement = next(iter(patcher.model_options["transformer_options"]["patches_replace"]["attn2"].values()))
        options = {"n_heads": module.heads, "cond_or_uncond": [1, 0, 0]}
        replacement(module.to_q(x), module.to_k(context), module.to_v(context), options)
        more = (module.to_q(x[:2]), module.to_k(context[:2]), module.to_v(context[:2]))
        replacement(*more, {**options, "cond_or_uncond": [0]})  # PAG's call in the same step: no picture's any more
    dense = [float(expected(module, x[row], context[row])[0].mean(0)[0, 0]) for row in range(6)]
    wanted = [(0, 1, dense[2]), (1, 1, dense[3]), (0, 0, dense[4]), (1, 0, dense[5])]
    assert [each[:2] for each in added] == [each[:2] for each in wanted]
    assert [each[2] for each in added] == pytest.approx([each[2] for each in wanted], abs=2e-5)
