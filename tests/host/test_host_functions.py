"""What we stand in for is called as the web UIs call their own: held against `host_functions.HOSTS`, and that against
the web UIs themselves where they are at hand: `PLADIS_HOSTS=/path/to/webui:/path/to/another`."""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_pladis.hosts.a1111 import _Hook
from lib_pladis.hosts.forge import ForgeModel, _NetworkCalls, _replacement, torch_attention
from lib_pladis.hosts.function import FORM, FunctionHooks, options_of
from lib_pladis.models.base import LayerName
from tests import networks, networks_pid, networks_sd3
from tests.host.first_step import first_step
from tests.host.host_functions import HOSTS, Host
from tests.host.transformer_cases import CASES, called_in_first_block, forge

by_host = pytest.mark.parametrize("host", HOSTS, ids=lambda host: f"{host.program} {host.version}")
VALUES = {
    "skip_reshape": True,
    "skip_output_reshape": False,
    "mask": None,
    "attn_precision": None,
    "enable_gqa": True,
    "scale": 8**-0.5,
}
"""What an argument is given as; one that isn't here as 1, which is not to be passed over."""


def positional(arguments: str) -> list[str]:
    return arguments.partition(" *")[0].split()


@by_host
def test_each_argument_of_an_attention_function_is_understood(host: Host) -> None:
    query, key, value = torch.randn(3, 2, 2, 26, 8)
    for arguments in sorted(set(host.attention.values())):
        _, _, _, heads, *rest = positional(arguments)
        assert (heads, *rest) == FORM[: 1 + len(rest)]
        more = host.more if "**kwargs" in arguments.split() else ()
        values = {name: VALUES.get(name, 1) for name in (*rest, *more)}
        apart = "skip_reshape" in rest
        q, k, v = (x if apart else x.transpose(1, 2).flatten(2) for x in (query, key, value))
        outs = []
        for args, kwargs in (
            ([values[name] for name in rest], {name: values[name] for name in more}),
            ([], values),
        ):
            network = CASES[0].network()
            with first_step(ForgeModel(forge(network))) as session:
                outs.append(called_in_first_block(network, q, k, v, 2, *args, **kwargs))
            report = session.passes[0]
            assert (report.calls_seen, report.calls_blended, report.calls_failed) == (5, 5, 0), report.why_not
        assert torch.equal(*outs)


@by_host
def test_a_networks_call_is_read_as_the_web_ui_makes_it(host: Host) -> None:
    for name, arguments in host.networks.items():
        names = positional(arguments)
        scope: dict[str, Callable[..., None]] = {}
        exec(f"def forward({', '.join(n if n[0] == '*' else n + '=None' for n in arguments.split())}): ...", scope)
        network: Any = SimpleNamespace(forward=scope["forward"])
        latent, context, options = torch.zeros(2, 4, 8, 8), torch.zeros(2, 3, 6), {"cond_or_uncond": [1, 0]}
        given: dict[str, Any] = {**dict.fromkeys(names), "x": latent, "context": context}
        if "transformer_options" in names or "**kwargs" in arguments.split():
            given["transformer_options"] = options
        for args, kwargs in (
            ((latent, None), {name: value for name, value in given.items() if name not in names[:2]}),
            (tuple(given[name] for name in names), {name: given[name] for name in given if name not in names}),
        ):
            hooks = FunctionHooks(network, lambda call, batch, now: None)
            hooks._begin(network, args, kwargs)
            assert hooks._call is not None, name
            assert hooks._call.latent is latent and hooks._call.context is context
            assert options_of(hooks._call) == given.get("transformer_options", {})


@by_host
def test_hooks_of_attn2_take_what_it_takes(host: Host) -> None:
    ours = list(inspect.signature(_Hook.call).parameters)[2:]
    for arguments in host.forwards.values():
        names = positional(arguments)
        assert names[:3] == ours[:3] == ["x", "context", "mask"]
        assert set(names[3:]) <= {"additional_tokens", "n_times_crossframe_attn_in_self"}
    replacement = _replacement(LayerName("d", 0), lambda: None, None, torch_attention, _NetworkCalls(lambda: False))
    for arguments in host.replacement.values():
        assert len(arguments.split()) == len(inspect.signature(replacement).parameters)


def test_the_tests_networks_call_as_the_web_uis_do() -> None:
    *_, neo = (host for host in HOSTS if host.program == "Forge Neo")
    (sd3,) = HOSTS[0].attention.values()
    wanted = neo.attention["backend/attention.py:attention_pytorch"]
    assert list(arguments_of(networks.attention_function)) == wanted.split()
    assert list(arguments_of(networks_sd3.attention)) == sd3.split()
    assert list(arguments_of(networks_pid.attention_function))[:4] == wanted.split()[:4]


def arguments_of(function: Callable[..., Any]) -> Iterator[str]:
    for name, parameter in inspect.signature(function).parameters.items():
        stars = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}
        yield stars.get(parameter.kind.name, "") + name


def arguments_in(tree: ast.Module, name: str) -> str | None:
    """What the function, or a class's `forward`, of this name takes, without `self`; or what is given where a dict's
    entry is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            node = next(each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "forward")
            name = "forward"
        if isinstance(node, ast.FunctionDef) and node.name == name:
            given = node.args
            names = [each.arg for each in (*given.posonlyargs, *given.args)]
            names += [f"*{given.vararg.arg}"] if given.vararg else []
            names += [each.arg for each in given.kwonlyargs]
            names += [f"**{given.kwarg.arg}"] if given.kwarg else []
            return " ".join(each for each in names if each != "self")
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(f"{name}["):
            return " ".join(ast.unparse(each) for each in node.args)
    return None


def differences(host: Host, folder: Path) -> list[str]:
    """In what the web UI in `folder` differs from this version of it, of the files that are there."""
    found = []
    for place, arguments in {**host.attention, **host.networks, **host.forwards, **host.replacement}.items():
        file, _, name = place.partition(":")
        theirs = arguments_in(ast.parse((folder / file).read_text()), name) if (folder / file).exists() else None
        if theirs != arguments:
            found.append(f"{place}: {theirs}, not {arguments}")
    return found


@pytest.mark.skipif("PLADIS_HOSTS" not in os.environ, reason="PLADIS_HOSTS names no folder of a web UI")
def test_the_web_uis_at_hand_take_what_is_written_here() -> None:
    for folder in map(Path, os.environ["PLADIS_HOSTS"].split(os.pathsep)):
        marks = [folder / host.mark[0] for host in HOSTS]
        known = [file.exists() and host.mark[1] in file.read_text() for host, file in zip(HOSTS, marks)]
        versions = [host for host, is_known in zip(HOSTS, known) if is_known]
        assert versions, f"{folder} is no web UI that is known"
        assert min((differences(host, folder) for host in versions), key=len) == []
