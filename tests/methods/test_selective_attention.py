from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradstyle.methods import selective_attention as module
from gradstyle.methods.selective_attention import (
    SelectiveAttention,
    keys_kept,
    selective_attention,
    selective_attention_reference,
    sinusoidal_positions,
)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chunks, rows that do not divide evenly, both threads: what large inputs meet, at a small size."""
    monkeypatch.setattr(module, "CPU_CHUNK", 7 * 60 * 4)


def tokens(n: int, heads: int, queries: int, keys: int, d: int, **options: object) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (torch.randn(n, heads, length, d, **options) for length in (queries, keys, keys))  # type: ignore[call-overload]
    return q, k, v


def whole(n: int, heads: int, queries: int, keys: int, d: int) -> tuple[Tensor, Tensor, Tensor]:
    """Whole numbers: scores are exact in any order of summation, and many are equal."""
    q, k = (torch.randint(-2, 3, (n, heads, length, d)).float() for length in (queries, keys))
    return q, k, torch.randn(n, heads, keys, d)


def weights_of(q: Tensor, k: Tensor, keep: float) -> Tensor:
    """Attention over one-hot values gives back its own weights, [N, heads, L_q, L_k]."""
    values = torch.eye(k.shape[2], dtype=q.dtype).expand(*k.shape[:2], -1, -1)
    return selective_attention(q, k, values, keep)


def edges_are_clear(q: Tensor, k: Tensor, keep: float) -> Tensor:
    """Rows whose last kept and first dropped score lie further apart than two orders of summation can bring them."""
    scores = (q.double() @ k.double().mT).sort(descending=True).values
    kept = keys_kept(keep, k.shape[2])
    return scores[..., kept - 1] - scores[..., kept] > 1e-4


def gradients(attention: object, q: Tensor, k: Tensor, v: Tensor, keep: float, grad: Tensor) -> tuple[Tensor, ...]:
    leaves = [x.detach().clone().requires_grad_() for x in (q, k, v)]
    return torch.autograd.grad(attention(*leaves, keep), leaves, grad)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("keep", "keys", "kept"),
    [(30, 4096, 1229), (30, 10, 3), (1.1, 1000, 11), (7, 100, 7), (0.001, 256, 1), (50, 3, 2), (100, 77, 77)],
)
def test_the_number_of_kept_keys_is_the_ceiling_of_the_percentage(keep: float, keys: int, kept: int) -> None:
    assert keys_kept(keep, keys) == kept


@pytest.mark.parametrize("keep", [0, -1, 100.5, math.nan])
def test_a_percentage_that_is_none_is_refused(keep: float) -> None:
    q, k, v = tokens(1, 1, 4, 4, 4)
    with pytest.raises(ValueError, match=f"got {keep}"):
        selective_attention(q, k, v, keep)
    with pytest.raises(ValueError, match=f"got {keep}"):
        SelectiveAttention(8, 2, keep)


@pytest.mark.parametrize(
    ("shape", "keep"),
    [
        ((1, 8, 256, 256, 64), 30),
        ((2, 3, 65, 37, 12), 10),
        ((2, 2, 30, 80, 16), 99),
        ((1, 1, 40, 60, 8), 1e-3),  # one key
        ((1, 2, 1, 50, 4), 50),
    ],
)
def test_equals_the_reference_forward_and_backward(shape: tuple[int, ...], keep: float) -> None:
    q, k, v = tokens(*shape)  # type: ignore[arg-type]
    expected = selective_attention_reference(q, k, v, keep)
    torch.testing.assert_close(selective_attention(q, k, v, keep), expected, rtol=0, atol=1e-5)
    grad = torch.randn_like(expected)
    for got, wanted in zip(
        gradients(selective_attention, q, k, v, keep, grad),
        gradients(selective_attention_reference, q, k, v, keep, grad),
    ):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("keep", [2, 30, 75])
@pytest.mark.usefixtures("small_chunks")
def test_equals_the_reference_among_equal_scores_and_across_chunks(keep: float) -> None:
    q, k, v = whole(2, 3, 45, 60, 5)
    expected = selective_attention_reference(q, k, v, keep)
    torch.testing.assert_close(selective_attention(q, k, v, keep), expected, rtol=0, atol=1e-5)
    grad = torch.randn_like(expected)
    for got, wanted in zip(
        gradients(selective_attention, q, k, v, keep, grad),
        gradients(selective_attention_reference, q, k, v, keep, grad),
    ):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("keep", [2, 30, 75])
def test_exactly_the_best_keys_of_each_row_have_a_weight(keep: float) -> None:
    for q, k, _ in (tokens(1, 2, 50, 60, 8), whole(1, 2, 50, 60, 3)):
        weights = weights_of(q, k, keep)
        kept = weights > 0
        assert (kept.sum(-1) == keys_kept(keep, 60)).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 50))
        scores = q @ k.mT
        worst_kept = scores.masked_fill(~kept, math.inf).amin(-1)
        best_dropped = scores.masked_fill(kept, -math.inf).amax(-1)
        assert (worst_kept >= best_dropped - 1e-5).all()  # these scores are summed in another order


def test_of_equal_scores_the_first_keys_stay() -> None:
    weights = weights_of(torch.zeros(1, 1, 3, 4), torch.randn(1, 1, 10, 4), 30)
    expected = torch.tensor([1 / 3] * 3 + [0.0] * 7).expand(1, 1, 3, 10)
    torch.testing.assert_close(weights, expected)


def test_all_keys_is_dense_attention_to_the_bit() -> None:
    q, k, v = tokens(2, 3, 40, 50, 16)
    assert torch.equal(selective_attention(q, k, v, 100), F.scaled_dot_product_attention(q, k, v))
    dense = selective_attention_reference(q, k, v, 100)
    torch.testing.assert_close(dense, F.scaled_dot_product_attention(q, k, v), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("small_chunks")
def test_gradients_are_those_of_finite_differences() -> None:
    q, k, v = tokens(1, 2, 9, 11, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *x: selective_attention(*x, 40), (q, k, v))
    assert torch.autograd.gradcheck(lambda *x: selective_attention(*x, 1), (q, k, v))


def test_a_second_derivative_is_refused() -> None:
    q, k, v = tokens(1, 1, 8, 8, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(selective_attention(q, k, v, 50).sum(), q, create_graph=True)


def test_the_order_of_the_keys_does_not_matter() -> None:
    q, k, v = tokens(1, 2, 50, 60, 8)
    order = torch.randperm(60)
    moved = selective_attention(q, k[:, :, order], v[:, :, order], 30)
    torch.testing.assert_close(moved, selective_attention(q, k, v, 30), rtol=0, atol=1e-6)


@pytest.mark.usefixtures("small_chunks")
def test_a_batch_gives_what_its_items_give_alone_each_time() -> None:
    q, k, v = whole(3, 2, 45, 60, 8)
    batch = selective_attention(q, k, v, 30)
    alone = torch.cat([selective_attention(q[i : i + 1], k[i : i + 1], v[i : i + 1], 30) for i in range(3)])
    torch.testing.assert_close(batch, alone, rtol=0, atol=1e-6)
    assert torch.equal(batch, selective_attention(q, k, v, 30))
    grad = torch.randn_like(batch)
    first, second = (gradients(selective_attention, q, k, v, 30, grad) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))


@pytest.mark.usefixtures("small_chunks")
def test_one_thread_gives_what_two_give_and_the_callers_setting_stays() -> None:
    q, k, v = tokens(1, 4, 45, 60, 8)
    two = selective_attention(q, k, v, 30)
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert (torch.get_num_threads(), seen) == (2, [2])
    torch.set_num_threads(1)
    torch.testing.assert_close(selective_attention(q, k, v, 30), two, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_selected_in_single(dtype: torch.dtype) -> None:
    q, k, v = (x.to(dtype) for x in tokens(1, 2, 50, 60, 16))
    out = selective_attention(q, k, v, 30)
    assert out.dtype == dtype
    single = selective_attention(q.float(), k.float(), v.float(), 30)
    torch.testing.assert_close(out.float(), single, rtol=2**-7, atol=2**-7)
    each = torch.eye(60, dtype=dtype).expand(1, 2, 60, 60)  # what comes out is the weights
    chosen = selective_attention(q, k, each, 30) > 0
    clear = edges_are_clear(q, k, 30)
    assert clear.float().mean() > 0.9
    reference = selective_attention_reference(q.float(), k.float(), each.float(), 30) > 0
    assert torch.equal(chosen[clear], reference[clear])
    assert selective_attention(q, k, v.float(), 30).dtype == torch.float32
    grad = torch.randn_like(out)
    assert all(g.dtype == dtype for g in gradients(selective_attention, q, k, v, 30, grad))


@pytest.mark.parametrize("keep", [30, 100])
def test_autocast_does_not_coarsen_the_scores(keep: float) -> None:
    q, k, v = tokens(1, 2, 50, 60, 16)
    grad = torch.randn_like(v[:, :, :50])
    expected = selective_attention(q, k, v, keep), *gradients(selective_attention, q, k, v, keep, grad)
    with torch.autocast("cpu", torch.bfloat16):
        got = selective_attention(q, k, v, keep), *gradients(selective_attention, q, k, v, keep, grad)
    assert all(torch.equal(a, b) for a, b in zip(got, expected))


@pytest.mark.usefixtures("small_chunks")
def test_works_in_inference_mode_and_with_nothing_to_do() -> None:
    q, k, v = tokens(1, 2, 45, 60, 8, requires_grad=True)
    with torch.inference_mode():
        assert torch.equal(selective_attention(q, k, v, 30), selective_attention(q, k, v, 30).detach())
        torch.testing.assert_close(
            selective_attention(q, k, v, 30), selective_attention_reference(q, k, v, 30), rtol=0, atol=1e-5
        )
    assert selective_attention(q[:, :, :0], k, v, 30).shape == (1, 2, 0, 8)
    selective_attention(q[:0], k[:0], v[:0], 30).sum().backward()


def test_nan_is_not_hidden() -> None:
    q, k, v = tokens(1, 1, 20, 30, 8)
    q[0, 0, 3, 0] = math.nan
    assert selective_attention(q, k, v, 30).isnan().any(-1).squeeze().nonzero().flatten().tolist() == [3]
    k[0, 0, 5, 0] = math.nan
    assert selective_attention(q, k, v, 30).isnan().all()


def test_the_selection_of_other_devices_is_that_of_the_cpu() -> None:
    scores = torch.cat([torch.randn(2, 20, 100), torch.randint(0, 5, (2, 20, 100)).float()])
    for kept in (1, 30, 99):
        edges = [scores.new_empty(4, 20, 1) for _ in range(2)]
        worst = module._by_partition(scores, kept, edges[0], torch.empty_like(scores))
        assert torch.equal(module._by_topk(scores, kept, edges[1]), worst)
        assert torch.equal(*edges)
        in_order = scores.sort(descending=True).values
        assert torch.equal(in_order[..., kept : kept + 1], edges[0])
        assert torch.equal(in_order[..., kept - 1 : kept], worst)


@pytest.mark.parametrize(
    "shapes",
    [
        ((1, 2, 4, 8), (1, 2, 4, 7), (1, 2, 4, 8)),
        ((1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 5, 8)),
        ((1, 2, 4, 8), (1, 1, 4, 8), (1, 1, 4, 8)),
    ],
)
def test_shapes_that_do_not_fit_are_named(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match=r"\[N, heads, L, d\].*\(1, 2, 4, 8\)"):
        selective_attention(*(torch.zeros(s) for s in shapes), 30)  # type: ignore[misc]


MEMORY = """
import torch
from gradstyle.methods.selective_attention import selective_attention

def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

def reset():
    open("/proc/self/clear_refs", "w").write("5")
    return status("VmRSS")

torch.set_num_threads(2)
small = torch.randn(1, 8, 512, 64, requires_grad=True)
selective_attention(small, small, small, 30).sum().backward()  # threads and libraries are up
q, k, v = (torch.randn(1, 8, 4096, 64, requires_grad=True) for _ in range(3))
before = reset()
out = selective_attention(q, k, v, 30)
forward = status("VmHWM") - before
grad = torch.randn_like(out)
before = reset()
out.backward(grad)
print(forward, status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.slow
def test_4096_tokens_need_little_memory() -> None:
    """All scores would be 512 MB, and the textbook holds several such tensors."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    forward, backward = map(float, done.stdout.split())
    assert 8 < forward < 200  # MB; the output alone is 8
    assert 24 < backward < 200  # the gradients alone are 24


def test_the_module_is_multi_head_attention() -> None:
    attention = SelectiveAttention(width=32, heads=4, keep=100)
    query, residual = torch.randn(2, 20, 32), torch.randn(2, 30, 32)
    fused = torch.cat([attention.query.weight, attention.key.weight, attention.value.weight])
    expected, _ = F.multi_head_attention_forward(
        query.transpose(0, 1), residual.transpose(0, 1), residual.transpose(0, 1), 32, 4, fused, None, None, None,
        False, 0.0, attention.out.weight, None, need_weights=False,
    )  # fmt: skip
    torch.testing.assert_close(attention(query, residual, residual), expected.transpose(0, 1), rtol=0, atol=1e-5)


def test_the_module_keeps_its_share_of_keys() -> None:
    attention = SelectiveAttention(width=32, heads=4, keep=30)
    query, residual = torch.randn(2, 20, 32), torch.randn(2, 30, 32)
    q, k, v = (
        layer(x).view(2, -1, 4, 8).transpose(1, 2)
        for layer, x in ((attention.query, query), (attention.key, residual), (attention.value, residual))
    )
    expected = attention.out(selective_attention_reference(q, k, v, 30).transpose(1, 2).reshape(2, 20, 32))
    got = attention(query, residual, residual)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    got.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in attention.parameters())
    nothing = torch.zeros_like(residual)
    assert not attention(query, nothing, nothing).any()  # nothing comes from the query itself


@pytest.mark.parametrize(("width", "heads"), [(30, 4), (32, 0)])
def test_a_width_that_the_heads_cannot_share_is_refused(width: int, heads: int) -> None:
    with pytest.raises(ValueError, match=f"width {width} and {heads} heads"):
        SelectiveAttention(width, heads, 30)


def test_positions_are_sinusoids_of_y_and_of_x() -> None:
    positions = sinusoidal_positions(3, 5, 8)
    assert positions.shape == (15, 8)
    y, x = 2, 4
    # The slowest wave is twice the map's side, the fastest 10 / 3 pixels.
    angles = [y * math.pi / 3, y * math.pi * 0.6, x * math.pi / 5, x * math.pi * 0.6]
    expected = torch.tensor([f(a) for a in angles for f in (math.sin, math.cos)])
    torch.testing.assert_close(positions[y * 5 + x], expected)
    assert len(positions.unique(dim=0)) == 15
    with pytest.raises(ValueError, match="got 6"):
        sinusoidal_positions(3, 5, 6)


def test_positions_are_made_once_and_serve_training_after_editing() -> None:
    with torch.inference_mode():
        made = sinusoidal_positions(2, 7, 12)
    assert sinusoidal_positions(2, 7, 12, device="cpu") is made
    weight = torch.ones(12, requires_grad=True)
    (made * weight).sum().backward()  # saves the positions for the backward pass
    torch.testing.assert_close(weight.grad, made.sum(0))
