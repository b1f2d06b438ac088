"""StyleRes: the released layout's numbers, the contract of a method, and what its losses train."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from math import inf, log10

import pytest
import torch
from interop import expected, filled, input_edit, input_photo, latent_avg, load_manifest
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from gradstyle.bundles.published import names
from gradstyle.bundles.published.styleres import convert
from gradstyle.draws import Draws
from gradstyle.edits import Edit
from gradstyle.encoder import Encoder, EncoderConfig
from gradstyle.methods.method import Losses, TrainingContext, fit
from gradstyle.methods.styleres import StyleRes, StyleResConfig
from gradstyle.stylegan2 import Codes, Discriminator, DiscriminatorConfig, Generator, GeneratorConfig


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


TINY = StyleResConfig(layer=3, width=16, reduced=8, extraction_units=2, branch_units=2)


def tiny(config: StyleResConfig = TINY) -> StyleRes:
    """A 32 px generator and a 64 px encoder: layer 3 is 16 px, as is the encoder's c1."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(32, 32, 32, mapping_layers=2, channel_base=1024, channel_max=32))
    encoder = Encoder(
        EncoderConfig(8, 32, 64, units=(1, 1, 1, 1), widths=(8, 16, 32, 64), feature_width=64, head_width=32)
    )
    encoder.mean_codes.normal_()
    return StyleRes(generator, encoder, config).eval()


def photos(count: int = 2, side: int = 64) -> Tensor:
    noise = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return F.interpolate(noise, size=(side, side), mode="bilinear")


def an_edit(scale: float = 1.0) -> Edit:
    return Edit("test", torch.randn(8, 32, generator=torch.Generator().manual_seed(2)) * scale)


def coarse(a: Tensor, b: Tensor) -> Tensor:
    """Stands for a perceptual distance."""
    return (F.avg_pool2d(a, 4) - F.avg_pool2d(b, 4)).abs().mean()


def who(a: Tensor, b: Tensor) -> Tensor:
    """Stands for an identity distance: a cosine of fixed features."""
    return (1 - F.cosine_similarity(F.avg_pool2d(a, 8).flatten(1), F.avg_pool2d(b, 8).flatten(1))).mean()


def context(seed: int = 0, discriminator: nn.Module | None = None, rank: int = 0, world: int = 1) -> TrainingContext:
    return TrainingContext(coarse, who, discriminator, draws=Draws(seed, rank, world))


def far(ours: Tensor, theirs: Tensor) -> float:
    """Relative L2 distance."""
    return float((ours.detach().double() - theirs.double()).norm() / theirs.double().norm())


def psnr(a: Tensor, b: Tensor) -> float:
    error = float((a - b).square().mean())
    return 10 * log10(float(b.max() - b.min()) ** 2 / error) if error else inf


# ---- the released layout


@torch.inference_mode()
def test_styleres_128() -> None:
    smooth = filled("styleres_128", "generator_smooth")
    with torch.device("meta"):
        generator = Generator(names.nvidia_generator_config(smooth, clamp=256))
        encoder = Encoder(EncoderConfig(codes=12))
    unused = [r"\.resample_filter$", r"\.modify_feature_"]
    generator.load_state_dict(names.take(generator, smooth, names.nvidia_generator, unused), assign=True)
    theirs = filled("styleres_128", "e4e") | {"latent_avg": latent_avg(12)}
    encoder.load_state_dict(names.take(encoder, theirs, names.e4e(encoder.config.units)), assign=True)
    config, own, notes = convert({"generator_smooth": smooth, "e4e": theirs})
    assert config == StyleResConfig()
    assert notes == ["8 weights that no pass uses were left out"]
    with torch.device("meta"):
        method = StyleRes(generator, encoder, config).eval()
    assert own.keys() == method.own_state().keys()
    method.load_own(own, assign=True)

    wanted = {key: torch.from_numpy(value) for key, value in expected("styleres_128").items()}
    inversion = method.invert(input_photo())
    assert far(inversion.codes.w, wanted["codes"]) < 1e-4
    assert far(generator(inversion.codes), wanted["without_residuals"]) < 1e-4
    assert far(method.render(inversion), wanted["reconstruction"]) < 1e-4
    assert far(method.render(inversion, Edit("vector", input_edit(12)[0])), wanted["edited"]) < 1e-4


def blank() -> dict[str, Tensor]:
    """The released layout's own part without its numbers, and without taking memory."""
    manifest = load_manifest("styleres_128")["generator_smooth"]
    return {key: torch.zeros(()).expand(entry["shape"]) for key, entry in manifest.items() if ".modify_" in key}


def test_a_checkpoint_that_lacks_weights_is_refused_by_name() -> None:
    with pytest.raises(names.Mismatch, match="generator_smooth"):
        convert({"e4e": {}})
    with pytest.raises(names.Mismatch, match="one block"):
        convert({"generator_smooth": {"synthesis.b4.const": torch.zeros(512, 4, 4)}})
    prefix = "synthesis.b64.modify_feature_"
    for lost in (
        "alignment.first_layer.weight",
        "alignment.conv3.1.res_layer.2.bias",
        "gates.convs2.2.res_layer.0.bias",
    ):
        state = blank()
        del state[prefix + lost]
        with pytest.raises(names.Mismatch, match=f"missing: {prefix}{lost}".replace(".", r"\.")):
            convert({"generator_smooth": state})
    with pytest.raises(names.Mismatch, match=r"unknown: synthesis\.b64\.modify_feature_more"):
        convert({"generator_smooth": blank() | {f"{prefix}more": torch.zeros(1)}})


def test_the_spare_units_of_the_checkpoint_may_be_absent() -> None:
    kept = {key: value for key, value in blank().items() if ".dconv3." not in key}
    config, own, notes = convert({"generator_smooth": kept})
    assert config == StyleResConfig() and notes == [] and len(own) == len(kept)


def test_layer_and_depths_are_told_by_the_weights() -> None:
    blank_32 = {key.replace(".b64.", ".b32."): value for key, value in blank().items()}
    dropped = (".conv3.", ".dconv3.", "extraction.convs.2.")
    fewer = {key: value for key, value in blank_32.items() if not any(part in key for part in dropped)}
    config, _, notes = convert({"generator_smooth": fewer})
    assert config == StyleResConfig(layer=5, halvings=1, extraction_units=2)
    assert notes == ["8 weights that no pass uses were left out"]


# ---- the contract


@torch.inference_mode()
def test_no_edit_and_zero_edits_are_the_reconstruction_exactly() -> None:
    method = tiny()
    inversion = method.invert(photos())
    plain = method.render(inversion)
    assert torch.equal(plain, method.reconstruct(inversion))
    assert torch.equal(plain, method.render(inversion, an_edit(0.0)))
    assert torch.equal(plain, method.render(inversion, 0 * an_edit()))
    assert not torch.equal(plain, method.render(inversion, an_edit()))
    # There is no jump: the same codes by the way of an edit give the same picture.
    assert far(method.redraw(inversion, inversion.codes), plain) < 1e-5


@torch.inference_mode()
def test_the_same_twice_and_a_batch_as_its_items() -> None:
    method, edit = tiny(), an_edit()
    inversion = method.invert(photos(3))
    plain, edited = method.render(inversion), method.render(inversion, edit)
    again = method.invert(photos(3))
    assert torch.equal(again.residual, inversion.residual)
    assert torch.equal(method.render(again, edit), edited)
    for i in range(3):
        alone = method.invert(photos(3)[i : i + 1])
        assert far(method.render(alone), plain[i : i + 1]) < 1e-4
        assert far(method.render(alone, edit), edited[i : i + 1]) < 1e-4
        assert far(method.render(inversion[i], edit), edited[i : i + 1]) < 1e-4
    both = method.render_each(inversion, [edit, (), -edit])
    assert far(both, torch.cat([edited, plain, method.render(inversion, -edit)])) < 1e-4


@torch.inference_mode()
@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_bfloat16_stays_close(how: str) -> None:
    method, photo = tiny(), photos()
    exact = method.invert(photo)
    wanted = [method.render(exact), method.render(exact, an_edit(0.3))]
    if how == "weights":
        method = method.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        inversion = method.invert(photo, exact.codes)
        got = [method.render(inversion), method.render(inversion, an_edit(0.3))]
    assert inversion.residual.dtype == inversion.canvas.feature.dtype == torch.bfloat16
    for image, like in zip(got, wanted, strict=True):
        assert image.dtype == torch.float32 and psnr(image, like) >= 35


@torch.inference_mode()
def test_photos_of_any_size_and_layers_of_any_size() -> None:
    for changed in ({"layer": 1, "halvings": 1}, {"layer": 2, "halvings": 0}, {"layer": 4, "halvings": 3}):
        method = tiny(replace(TINY, **changed))
        inversion = method.invert(photos(side=96))
        side, width = method.generator.config.side(method.config.layer), method.generator.config.width(4)
        assert inversion.residual.shape == (2, 16, side, side)
        assert inversion.canvas.feature.shape == (2, width, side, side)
        assert method.render(inversion, an_edit()).shape == (2, 3, 32, 32)
    assert tiny(replace(TINY, tap="p2")).invert(photos()).residual.shape == (2, 16, 16, 16)


def test_wrong_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"layer 5 .* layer 3 is the finest"):
        tiny(replace(TINY, layer=5))
    with pytest.raises(ValueError, match="layer must be at least 1, got 0"):
        replace(TINY, layer=0)
    with pytest.raises(ValueError, match=r"edit_probability .* got 1\.5"):
        replace(TINY, edit_probability=1.5)
    with pytest.raises(ValueError, match="edit_strength"):
        replace(TINY, edit_strength=(0.5, 0.4))
    with pytest.raises(ValueError, match="c9"):
        tiny(replace(TINY, tap="c9"))


@torch.inference_mode()
def test_nothing_is_done_twice() -> None:
    method = tiny()
    runs: Counter[str] = Counter()
    watched = {"encoder": method.encoder.backbone, "e1": method.e1, "e2": method.e2}
    watched |= {f"layer {i}": layer for i, layer in enumerate(method.generator.layers)}
    for name, module in watched.items():
        module.register_forward_hook(lambda *_, name=name: runs.update([name]))

    def count(work: object) -> dict[str, int]:
        runs.clear()
        work()
        return dict(runs)

    lower, upper = [f"layer {i}" for i in range(4)], [f"layer {i}" for i in range(4, 7)]
    assert count(lambda: method.invert(photos())) == dict.fromkeys(["encoder", *lower, "e1", "e2"], 1)
    inversion = method.invert(photos())
    assert count(lambda: method.reconstruct(inversion)) == dict.fromkeys(upper, 1)
    assert count(lambda: method.redraw(inversion, inversion.codes)) == dict.fromkeys([*lower, "e2", *upper], 1)
    given = count(lambda: method.invert(photos(), inversion.codes))
    assert given["encoder"] == 1  # its features are needed even where the codes are given

    def flops(work: object) -> int:
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops()

    codes, feature = inversion.codes, inversion.canvas.feature
    drawing = flops(lambda: method.generator(codes)) + flops(lambda: method.e2(feature, inversion.residual))
    assert flops(lambda: method.redraw(inversion, codes)) == drawing


# ---- training


def spied(method: StyleRes, photo: Tensor, seed: int) -> tuple[Losses, list[tuple[Tensor, Tensor]]]:
    """A loss, and the pairs that its perceptual part was given."""
    pairs: list[tuple[Tensor, Tensor]] = []

    def perceptual(a: Tensor, b: Tensor) -> Tensor:
        pairs.append((a.detach(), b.detach()))
        return coarse(a, b)

    return method.training_loss(photo, TrainingContext(perceptual, who, draws=Draws(seed))), pairs


def test_the_loss_edits_some_rows_and_takes_the_edit_back() -> None:
    method, photo = tiny(), photos(6)
    losses, pairs = spied(method, photo, seed=2)
    draws = Draws(2)
    edited = draws.uniform(6) < 0.5
    assert 0 < int(edited.sum()) < 6
    strength = 0.4 + 0.1 * draws.uniform(6, 1, 1)
    z = draws.normal(6, 32)
    with torch.no_grad():
        inversion = method.invert(photo)
        offset = strength * (method.generator.map(z)[:, None] - inversion.codes.w)
        offset[~edited] = 0
        image = fit(method.redraw(inversion, Codes(inversion.codes.w + offset)), 64)
        second = method.invert(image)
        back = fit(method.redraw(second, Codes(second.codes.w - offset)), 64)
    assert far(losses.fakes, image) < 1e-5
    (plain, its_photo), (returned, every_photo) = pairs
    assert far(plain, image[~edited]) < 1e-5 and torch.equal(its_photo, photo[~edited])
    assert far(returned, back) < 1e-5 and torch.equal(every_photo, photo)

    share = int((~edited).sum()) / 3  # of the rows that are unedited on the average
    delta = method.e2(method._begin(Codes(inversion.codes.w + offset)).feature, inversion.residual)[1]
    wanted = {
        "pixel": (image[~edited] - photo[~edited]).square().mean() * share,
        "perceptual": coarse(image[~edited], photo[~edited]) * share,
        "identity": who(image[~edited], photo[~edited]) * share,
        "feature": delta.detach().abs().mean(),
        "cycle_perceptual": coarse(back, photo),
        "cycle_identity": who(back, photo),
    }
    assert losses.terms.keys() == wanted.keys()
    for name, value in wanted.items():
        assert float(losses.terms[name].detach()) == pytest.approx(float(value), rel=1e-4), name
    published = {"pixel": 1, "perceptual": 1e-3, "identity": 0.1, "feature": 5}
    assert losses.weights == pytest.approx(published | {"cycle_perceptual": 1e-4, "cycle_identity": 0.1})


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_every_own_parameter_learns_whatever_is_edited(probability: float) -> None:
    method = tiny(replace(TINY, edit_probability=probability)).train()
    losses = method.training_loss(photos(4), context(discriminator=Discriminator(DiscriminatorConfig(32, 256, 16))))
    losses.total.backward()
    for name, parameter in method.named_parameters():
        if name.startswith(("generator.", "encoder.")):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
            assert float(parameter.grad.abs().max()) > 0, name
    assert all(bool(term.isfinite()) for term in losses.terms.values())
    nothing_plain = [float(losses.terms[name].detach()) == 0 for name in ("pixel", "perceptual", "identity")]
    assert nothing_plain == [probability == 1] * 3


def test_a_batch_dealt_only_one_kind_has_a_loss() -> None:
    method = tiny()
    kinds = {bool(Draws(seed).uniform(1) < 0.5): seed for seed in range(8)}
    for edited, seed in kinds.items():
        losses = method.training_loss(photos(1), context(seed))
        losses.total.backward()
        assert bool(losses.total.isfinite())
        terms = {name: float(term.detach()) for name, term in losses.terms.items()}
        assert (terms["pixel"] == 0) == edited
        assert terms["feature"] > 0 and terms["cycle_identity"] > 0


def test_two_processes_see_the_loss_of_one() -> None:
    method, photo = tiny(), photos(4)
    seed = next(s for s in range(99) if (Draws(s).uniform(4) < 0.5).tolist() == [False, False, False, True])
    whole = method.training_loss(photo, context(seed)).terms
    halves = [method.training_loss(photo[2 * r : 2 * r + 2], context(seed, rank=r, world=2)).terms for r in range(2)]
    for name, term in whole.items():
        together = (halves[0][name].detach() + halves[1][name].detach()) / 2
        assert float(together) == pytest.approx(float(term.detach()), rel=1e-4), name


def test_the_return_learns_without_the_way_there() -> None:
    """The output is re-encoded without gradient, so the encoder is never differentiated."""
    method = tiny()
    recorded: list[bool] = []
    method.encoder.register_forward_hook(lambda *_: recorded.append(torch.is_grad_enabled()))
    method.encoder.backbone.register_forward_hook(lambda *_: recorded.append(torch.is_grad_enabled()))
    method.training_loss(photos(), context())
    assert recorded == [False, False]  # the photo's pass and the output's


def test_without_a_difference_in_features_the_picture_is_that_of_the_codes() -> None:
    method, photo = tiny(), photos()
    for parameter in method.e2.delta[-1].parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        inversion = method.invert(photo)
        assert far(method.render(inversion), method.generator(inversion.codes)) < 1e-6
    assert float(method.training_loss(photo, context()).terms["feature"].detach()) == 0


def test_the_adversarial_term_falls_as_the_score_rises() -> None:
    class Score(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, image: Tensor) -> Tensor:
            return image.mean(dim=(1, 2, 3)) * 0 + self.value

    for value in (-2.0, 0.0, 3.0):
        losses = tiny().training_loss(photos(), context(discriminator=Score(value)))
        assert float(losses.terms["adversarial"].detach()) == pytest.approx(float(F.softplus(torch.tensor(-value))))
        assert losses.weights["adversarial"] == 0.1 and losses.fakes.shape == (2, 3, 64, 64)
    judge = Discriminator(DiscriminatorConfig(32, 256, 16))
    assert tiny().training_loss(photos(), context(discriminator=judge)).fakes.shape == (2, 3, 32, 32)


WEIGHTS = ("pixel", "perceptual", "identity", "adversarial", "feature", "cycle_perceptual", "cycle_identity")


@pytest.mark.parametrize("term", WEIGHTS)
def test_each_term_falls_when_it_is_what_is_trained(term: str) -> None:
    method = tiny(replace(TINY, **{name: float(name == term) for name in WEIGHTS})).train()
    frozen = copy.deepcopy({k: v for k, v in method.state_dict().items() if k.startswith(("generator.", "encoder."))})
    torch.manual_seed(5)
    judge = Discriminator(DiscriminatorConfig(32, 256, 16)) if term == "adversarial" else None
    seed = next(s for s in range(99) if (Draws(s).uniform(2) < 0.5).tolist() == [False, True])
    learned = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=2e-3)
    values = []
    for _ in range(15):
        losses = method.training_loss(photos(), context(seed, judge))
        values.append(float(losses.terms[term].detach()))
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    assert values[-1] < 0.9 * values[0], values
    assert not method.generator.training and not method.encoder.training
    for name, value in method.state_dict().items():
        if name in frozen:
            assert torch.equal(value, frozen[name]), name
