"""SDIC: the published numbers, the contract of a method, its training, its work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from interop import expected, filled, input_edit, input_mean_w, input_photo, input_w_plus, load_manifest
from torch import Tensor, nn

from gradstyle.bundles.published import names
from gradstyle.bundles.published.sdic import convert
from gradstyle.edits import Edit
from gradstyle.encoder import Encoder, EncoderConfig
from gradstyle.methods.method import TrainingContext, at_encoder_size
from gradstyle.methods.sdic import SDIC, CodeCompensation, SDICConfig
from gradstyle.stylegan2 import Codes, Generator, GeneratorConfig

TINY = SDICConfig(
    layer=3,
    working_size=32,
    photo_widths=(6, 8, 10),
    half_width=6,
    match_width=8,
    planes=8,
    volume_widths=(4, 6, 8),
    head_width=6,
    head_units=2,
    map_widths=(8,),
    shift_side=16,
)
BEFORE_A_NORM = ("code.rows.0.bias", "code.gamma.0.bias", "code.beta.0.bias")  # what follows takes the mean off again


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On maps this small, threads mostly wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def far(ours: Tensor, theirs: object) -> float:
    """Relative L2 distance."""
    reference = torch.as_tensor(theirs).double()
    return float((ours.double() - reference).norm() / reference.norm())


def tiny(config: SDICConfig = TINY) -> SDIC:
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(32, 32, 32, 2, channel_base=1024, channel_max=32))
    for layer in generator.layers:
        layer.noise_strength.data.fill_(0.1)
    encoder = Encoder(EncoderConfig(8, 32, 64, (1, 1, 1, 1), (8, 16, 32, 64), feature_width=64, head_width=16))
    return SDIC(generator, encoder, config).eval()


def photos(count: int = 2) -> Tensor:
    draws = torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return F.avg_pool2d(draws, 9, stride=1, padding=4) * 4


def some_edit(scale: float = 1.0) -> Edit:
    return Edit("some", torch.randn(8, 32, generator=torch.Generator().manual_seed(2)) * scale)


def context() -> TrainingContext:
    maps = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(3))
    rows = torch.randn(16, 3 * 8 * 8, generator=torch.Generator().manual_seed(4))

    def perceptual(a: Tensor, b: Tensor) -> Tensor:
        return F.mse_loss(F.conv2d(a, maps).relu(), F.conv2d(b, maps).relu())

    def identity(a: Tensor, b: Tensor) -> Tensor:
        seen = [F.adaptive_avg_pool2d(x, 8).flatten(1) @ rows.T for x in (a, b)]
        return 1 - F.cosine_similarity(*seen).mean()

    return TrainingContext(perceptual, identity)


# ---- what the published code computes


def test_published_numbers() -> None:
    sections = {name: filled("sdic_128", name) for name in ("decoder", "DIP", "SAF")}
    config, own, notes = convert(sections)
    assert config == replace(SDICConfig(), shift_width=12)
    assert notes == ["90 weights that no pass uses were left out"]
    decoder = sections["decoder"] | {"latent_avg": input_mean_w()}
    small = EncoderConfig(12, 512, 64, (1, 1, 1, 1), (8, 8, 8, 8), feature_width=8, head_width=8)
    with torch.device("meta"):  # the encoder stays there: the codes are given
        generator = Generator(names.rosinality_generator_config(decoder))
        method = SDIC(generator, Encoder(small)).eval()  # the defaults fit a 128 px generator
    state = names.take(generator, decoder, names.rosinality_generator, [r"\.kernel$"])
    generator.load_state_dict(state, assign=True)
    method.load_own(own, assign=True)
    wanted, codes, photo = expected("sdic_128"), Codes(input_w_plus(12)), input_photo()
    seen: list[Tensor] = []
    method.discrepancy.register_forward_hook(lambda _, given, made: seen.extend([given[1], made]))
    with torch.inference_mode():
        inversion = method.invert(photo, codes)
        assert far(seen[1][:, :, ::4, ::4], wanted["discrepancy"]) < 1e-4
        assert far(seen[0], at_encoder_size(torch.as_tensor(wanted["initial"]), 256)) < 1e-4
        assert far(inversion.codes.w, wanted["w_compensated"]) < 1e-5
        assert far(method.render(inversion), wanted["reconstruction"]) < 1e-4
        assert far(method.render(inversion, Edit("edit", input_edit(12)[0])), wanted["edited"]) < 1e-4


def of_cars() -> dict[str, dict[str, Tensor]]:
    """The released layout for 16 codes: 18 channels and 144 → 72 → 16."""
    sections = {}
    for section, entries in load_manifest("sdic_128").items():
        shapes = {key: entry["shape"] for key, entry in entries.items()}
        if section == "decoder":
            shapes = {"conv1.conv.modulation.weight": shapes["conv1.conv.modulation.weight"]}
        for key, shape in shapes.items():
            if key.startswith("condition_shift3."):
                shapes[key] = [{12: 18}.get(n, n) for n in shape]
            if key.startswith("aff1d."):
                shapes[key] = [{96: 144, 48: 72, 12: 16}.get(n, n) for n in shape]
        sections[section] = {key: torch.zeros(shape) for key, shape in shapes.items()}
    return sections


def test_published_layout_of_cars() -> None:
    config, own, _ = convert(of_cars())
    assert config == replace(SDICConfig(), shift_width=18)
    with torch.device("meta"):
        module = CodeCompensation(config, codes=16, w_dim=512)
    module.load_state_dict({k.removeprefix("code."): v for k, v in own.items() if k.startswith("code.")}, assign=True)
    assert module(torch.zeros(1, 3, 256, 256), torch.ones(1, 16, 512)).shape == (1, 16, 512)


@pytest.mark.parametrize(
    ("section", "change", "named"),
    [
        ("DIP", {"desc.bias": None}, "desc.bias"),
        ("DIP", {"hourglass_fusion.CGF_16.semantic.1.bias": None}, "CGF_16.semantic.1.bias"),
        ("DIP", {"hourglass_fusion.agg_0.0.bn.weight": torch.zeros(3)}, "agg_0.0.bn.weight is"),
        ("SAF", {"aff1d.att2.0.bias": None}, "aff1d.att2.0.bias"),
        ("SAF", {"condition_shift3.0.weight": None}, "condition_shift3.0.weight"),
        ("SAF", {"aff3.weight": torch.zeros(3)}, "unknown: aff3.weight"),
        ("SAF", {"att.1.weight": torch.full((512, 512, 3, 3), torch.nan)}, "att.1.weight holds values"),
        ("SAF", None, "missing: SAF"),
    ],
)
def test_wrong_checkpoints_are_refused_by_name(
    section: str, change: dict[str, Tensor | None] | None, named: str
) -> None:
    sections = of_cars()
    if change is None:
        del sections[section]
    for key, value in (change or {}).items():
        sections[section].pop(key, None)
        if value is not None:
            sections[section][key] = value
    with pytest.raises(names.Mismatch, match=named):
        convert(sections)


# ---- the contract of a method


@torch.inference_mode()
def test_no_edit_is_the_reconstruction() -> None:
    method = tiny()
    inversion = method.invert(photos())
    plain = method.reconstruct(inversion)
    assert torch.equal(method.render(inversion), plain)
    assert torch.equal(method.render(inversion, some_edit() * 0), plain)
    assert torch.equal(method.render(method.invert(photos())), plain)
    assert far(method.render(inversion, some_edit()), plain) > 0.05


@torch.inference_mode()
def test_an_edit_moves_the_compensated_codes_and_keeps_what_was_added() -> None:
    method, edit = tiny(), some_edit()
    generator, codes = method.generator, method.encoder(photos())[0]
    inversion = method.invert(photos())
    assert far(inversion.codes.w, codes.w) > 0.01
    g7 = generator.run(generator.start(codes), codes, to=3).feature
    assert torch.allclose(inversion.feature - inversion.added, g7, atol=1e-5)
    moved = Codes(inversion.codes.w + edit.w)
    canvas = generator.run(generator.start(moved), moved, to=3)
    image = generator.run(canvas.replace(inversion.feature - g7 + canvas.feature), moved).image
    assert far(method.render(inversion, edit), image) < 1e-5


@torch.inference_mode()
def test_a_batch_gives_what_its_photos_give_alone() -> None:
    method, edits = tiny(), [some_edit(), [], some_edit(-0.5)]
    together = method.invert(photos(3))
    drawn = method.render_each(together, edits).unflatten(0, (3, 3))
    for i in range(3):
        alone = method.invert(photos(3)[i : i + 1])
        assert far(together[i].feature, alone.feature) < 1e-5
        for j, edit in enumerate(edits):
            assert far(drawn[j, i], method.render(alone, edit)[0]) < 1e-4


@torch.inference_mode()
def test_style_offsets_go_with_the_codes() -> None:
    method = tiny()
    codes = method.encoder(photos())[0]
    s = torch.randn(2, sum(method.generator.style_widths)) * 0.3
    inversion = method.invert(photos(), Codes(codes.w, s))
    assert inversion.codes.s is s
    assert far(method.render(inversion), method.render(method.invert(photos(), codes))) > 0.01


@pytest.mark.parametrize("autocast", [True, False])
@torch.inference_mode()
def test_half_precision_stays_close(autocast: bool) -> None:
    method = tiny()

    def draw() -> list[Tensor]:
        inversion = method.invert(photos())
        return [method.render(inversion), method.render(inversion, some_edit())]

    exact = draw()
    if autocast:
        with torch.autocast("cpu", torch.bfloat16):
            half = draw()
    else:
        method.to(torch.bfloat16)
        half = draw()
    for a, b in zip(half, exact):
        psnr = 10 * torch.log10((b.max() - b.min()) ** 2 / (a - b).square().mean())
        assert psnr >= 35, f"{psnr:.1f} dB"


# ---- work


def runs_of(method: SDIC) -> Counter[str]:
    """Counts how often each part runs, from now on."""
    counted: Counter[str] = Counter()
    parts: dict[str, nn.Module] = {"encoder": method.encoder.backbone, "map": method.discrepancy}
    parts |= {f"layer {i}": layer for i, layer in enumerate(method.generator.layers)}

    def count(name: str) -> Callable[..., None]:
        return lambda *_: counted.update([name])

    for name, part in parts.items():
        part.register_forward_hook(count(name))
    return counted


@torch.inference_mode()
def test_nothing_runs_twice() -> None:
    method = tiny()
    counted, layers = runs_of(method), {f"layer {i}": 1 for i in range(7)}
    inversion = method.invert(photos())
    assert counted == {"encoder": 1, "map": 1} | layers
    codes = inversion.codes
    for work, wanted in [
        (lambda: method.invert(photos(), codes), {"map": 1} | layers),
        (lambda: method.render(inversion), layers),
        (lambda: method.render(inversion, some_edit()), layers),
        (lambda: method.render_each(inversion, [some_edit(), some_edit(2)]), layers),
    ]:
        counted.clear()
        work()
        assert counted == wanted


# ---- training


def test_everything_of_its_own_learns_and_nothing_else_changes() -> None:
    method = tiny().train()
    frozen = {k: v.clone() for k, v in method.state_dict().items() if k.startswith(("generator.", "encoder."))}
    own = {k: v.clone() for k, v in method.own_state().items()}
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], 1e-3)
    for step in range(2):
        method.training_loss(photos(), context()).total.backward()
        if step == 0:
            for name, parameter in method.named_parameters():
                if name.startswith(("generator.", "encoder.")):
                    assert parameter.grad is None, name
                else:
                    assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
                    assert bool(parameter.grad.any()) or name in BEFORE_A_NORM, name
        optimizer.step()
        optimizer.zero_grad()
    state = method.state_dict()
    assert all(torch.equal(state[key], value) for key, value in frozen.items())
    assert all(not torch.equal(state[k], v) for k, v in own.items() if k not in BEFORE_A_NORM)


@pytest.mark.parametrize("term", ["pixel", "perceptual", "identity", "feature", "code"])
def test_each_term_falls_when_it_is_trained_alone(term: str) -> None:
    none = dict.fromkeys(("pixel", "perceptual", "identity", "feature", "code"), 0.0)
    method = tiny(replace(TINY, **(none | {term: 1.0}))).train()
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], 3e-3)
    values = []
    for _ in range(20):
        losses = method.training_loss(photos(), context())
        assert losses.total.item() == pytest.approx(losses.terms[term].item())
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(losses.terms[term].item())
    assert sum(values[-3:]) < 0.9 * sum(values[:3]), values


@torch.no_grad()
def test_terms_are_what_they_say() -> None:
    method = tiny()
    losses, inversion = method.training_loss(photos(), context()), method.invert(photos())
    codes = method.encoder(photos())[0]
    g7 = method.generator.run(method.generator.start(codes), codes, to=3).feature
    assert losses.fakes is None  # no discriminator judges SDIC
    assert losses.weights == {"pixel": 1, "perceptual": 0.8, "identity": 0.1, "feature": 0.4, "code": 0.1}
    wanted = F.interpolate(photos(), size=32, mode="area")
    assert losses.terms["pixel"].item() == pytest.approx(F.mse_loss(method.reconstruct(inversion), wanted).item())
    assert losses.terms["feature"].item() == pytest.approx(F.mse_loss(inversion.feature, g7).item(), rel=1e-4)
    assert losses.terms["code"].item() == pytest.approx(F.mse_loss(inversion.codes.w, codes.w).item(), rel=1e-4)
    for silent in (method.feature.down[-1][-1], method.code.gamma[-1], method.code.beta[-1]):
        silent.weight.zero_()
    losses = method.training_loss(photos(), context())
    assert losses.terms["feature"] == losses.terms["code"] == 0
    assert torch.equal(method.render(method.invert(photos())), method.generator(codes))


# ---- wrong values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"planes": 44}, "planes is halved 3 times and must be a multiple of 8, got 44"),
        ({"working_size": 100}, "working_size is halved 3 times and must be a multiple of 8, got 100"),
        ({"volume_widths": (8, 16)}, "photo_widths and volume_widths hold one width a size"),
        ({"photo_widths": (16, 0, 96, 160)}, r"photo_widths must be from 1 to 4096, got \(16, 0, 96, 160\)"),
        ({"map_widths": ()}, r"map_widths one a halving, got .* and \(\)"),
        ({"head_units": 0}, "head_units must be from 1 to 99, got 0"),
        ({"shift_side": 1 << 20}, "shift_side must be from 1 to 4096, got 1048576"),
        ({"shift_width": 0}, "shift_width must be from 1 to 4096, or None for one a code, got 0"),
    ],
)
def test_wrong_configs_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SDICConfig(), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": 7}, "layer must be in 0 … 6, got 7"),
        ({"layer": 5}, "the map shrinks from 32 px to 16 in 1 halvings, layer 5 has 32"),
        ({"map_widths": (8, 8)}, "the map shrinks from 32 px to 8"),
        ({"shift_side": 3, "shift_width": 7}, "7 shift channels of 3² pixels do not make two rows or more of 32"),
    ],
)
def test_configs_that_do_not_fit_the_generator_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(replace(TINY, **change))
