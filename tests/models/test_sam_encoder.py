"""Attention with relative positions against the formula written out, and what is said where the encoder cannot be
compiled. That the whole encoder is the released one's is in test_sam_parity.py."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from helpers import official_sam
from helpers.sam_family import picture
from helpers.threads import one_thread
from torch import Tensor

from sambench.errors import UsageError
from sambench.models.sam import sam, sam_encoder
from sambench.models.sam.sam import SamOptions
from sambench.models.sam.sam_encoder import How, attention, relative
from sambench.plugins import options

__all__ = ["one_thread"]

SIDE, WIDTH, COUNT = 5, 8, 3


def _written_out(q: Tensor, k: Tensor, v: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor) -> Tensor:
    """One query and one key after the other, in float64."""
    out = torch.zeros(q.shape, dtype=torch.float64)
    q, k, v, rel_pos_h, rel_pos_w = (part.double() for part in (q, k, v, rel_pos_h, rel_pos_w))
    for n in range(len(q)):
        for query in range(SIDE**2):
            y, x = divmod(query, SIDE)
            scores = [
                q[n, query] @ k[n, key] / WIDTH**0.5
                + q[n, query] @ (rel_pos_h[y, key // SIDE] + rel_pos_w[x, key % SIDE])
                for key in range(SIDE**2)
            ]
            out[n, query] = torch.stack(scores).softmax(0) @ v[n]
    return out


@pytest.mark.parametrize("how", get_args(How))
@pytest.mark.parametrize("scores", [1, 4 * SIDE**2, 2 * SIDE**4, 1 << 20])
def test_attention_is_the_formula_however_it_is_cut(how: How, scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One query at a time; four; all of two heads; everything."""
    monkeypatch.setattr(sam_encoder, "CPU_SCORES", scores)
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn((3, COUNT, SIDE**2, WIDTH), generator=generator)
    tables = [relative(torch.randn((2 * SIDE - 1, WIDTH), generator=generator), SIDE) for _ in range(2)]
    found = attention(q, k, v, *tables, how)
    assert (found - _written_out(q, k, v, *tables)).abs().max() < 1e-5


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("sam") / "weights.pth"
    torch.save(official_sam.build(side=256).state_dict(), path)
    return str(path)


def test_on_a_cpu_attention_is_chunked_unless_asked_for_otherwise(checkpoint: str) -> None:
    """To the bit, and near it."""
    images = [picture(60, 80)]
    auto, chunked, sdpa = (
        sam.load_checkpoint(checkpoint, SamOptions(attention=how), "cpu").encode(images)[0].embedding
        for how in ("auto", "chunked", "sdpa")
    )
    assert torch.equal(auto, chunked)
    assert not torch.equal(auto, sdpa)
    assert (auto - sdpa).abs().max() < 1e-4


def test_options_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"model\.attention=flash: must be one of: auto, chunked, sdpa"):
        options.build(SamOptions, {"attention": "flash"}, "model")
    assert options.build(SamOptions, {"compile": "true"}, "model").compile is True


def test_the_encoder_is_compiled_for_the_batch_when_it_is_loaded(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, ...]] = []

    def compile(encoder: Any, *, dynamic: bool) -> Any:
        assert dynamic is False

        def made(pixels: Tensor) -> Tensor:
            calls.append(tuple(pixels.shape))
            found: Tensor = encoder(pixels)
            return found

        return made

    monkeypatch.setattr("torch.compile", compile)
    model = sam.load_checkpoint(checkpoint, SamOptions(compile=True), "cpu", 2)
    assert calls == [(2, 3, 256, 256)]
    model.encode([picture(60, 80)])
    assert calls[1:] == [(1, 3, 256, 256)]


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (
            RuntimeError("No working C++ compiler found\nin any of these places"),
            UsageError,
            r"^the encoder cannot be compiled \(No working C\+\+ compiler found\): .* torch\.compile needs a C\+\+ "
            r"compiler \(g\+\+ or clang\+\+\); without it leave out --set model\.compile=true$",
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError, "CUDA out of memory"),
    ],
)
def test_what_is_said_where_it_cannot_be_compiled(
    checkpoint: str,
    error: Exception,
    expected: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(encoder: Any, *, dynamic: bool) -> Any:
        def made(pixels: Tensor) -> Tensor:
            raise error

        return made

    monkeypatch.setattr("torch.compile", failing)
    with pytest.raises(expected, match=message):
        sam.load_checkpoint(checkpoint, SamOptions(compile=True), "cpu")
