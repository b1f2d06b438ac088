"""StyleRes: its released layout, what its losses train, wrong values."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradstyle.methods.method import Losses, TrainingContext, fit
from gradstyle.methods.styleres import StyleRes, StyleResConfig
from gradstyle.published import names
from gradstyle.published.styleres import convert
from gradstyle.rng import Draws
from gradstyle.stylegan2 import Codes
from tests.support import tiny
from tests.support.interop import load_manifest

TINY: StyleResConfig = tiny.CONFIGS["styleres"]


def method(config: StyleResConfig = TINY) -> StyleRes:
    made = tiny.method("styleres", config, shaken=True)
    assert isinstance(made, StyleRes)
    return made


# ---- the released layout


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


def test_the_released_layout_has_the_published_shapes() -> None:
    config, own, notes = convert({"generator_smooth": blank()})
    assert config == StyleResConfig() and len(own) == len(blank()) - 8
    assert notes == ["8 weights that no pass uses were left out"]


# ---- shapes


@pytest.mark.parametrize("how", ["autocast", "weights"])
@torch.inference_mode()
def test_half_precision_keeps_half_the_bytes(how: str) -> None:
    made = method().to(torch.bfloat16) if how == "weights" else method()
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        inversion = made.invert(tiny.photos())
    assert inversion.residual.dtype == inversion.canvas.feature.dtype == torch.bfloat16


@torch.inference_mode()
def test_photos_of_any_size_and_layers_of_any_size() -> None:
    for changed in ({"layer": 1, "halvings": 1}, {"layer": 2, "halvings": 0}, {"layer": 4, "halvings": 3}):
        made = method(replace(TINY, **changed))
        inversion = made.invert(tiny.photos(side=96))
        side, width = made.generator.config.side(made.config.layer), made.generator.config.width(4)
        assert inversion.residual.shape == (2, 16, side, side)
        assert inversion.canvas.feature.shape == (2, width, side, side)
        assert made.render(inversion, tiny.an_edit()).shape == (2, 3, 32, 32)
    assert method(replace(TINY, tap="p2")).invert(tiny.photos()).residual.shape == (2, 16, 16, 16)


def test_wrong_values_are_named() -> None:
    with pytest.raises(ValueError, match="layer must be at least 1, got 0"):
        replace(TINY, layer=0)
    with pytest.raises(ValueError, match=r"edit_probability .* got 1\.5"):
        replace(TINY, edit_probability=1.5)
    with pytest.raises(ValueError, match="edit_strength"):
        replace(TINY, edit_strength=(0.5, 0.4))
    with pytest.raises(ValueError, match="c9"):
        method(replace(TINY, tap="c9"))


# ---- training


def spied(made: StyleRes, photo: Tensor, seed: int) -> tuple[Losses, list[tuple[Tensor, Tensor]]]:
    """A loss, and the pairs that its perceptual part was given."""
    pairs: list[tuple[Tensor, Tensor]] = []

    def perceptual(a: Tensor, b: Tensor) -> Tensor:
        pairs.append((a.detach(), b.detach()))
        return tiny.coarse(a, b)

    return made.training_loss(photo, TrainingContext(perceptual, tiny.who, draws=Draws(seed))), pairs


def test_the_loss_edits_some_rows_and_takes_the_edit_back() -> None:
    made, photo = method(), tiny.photos(6)
    losses, pairs = spied(made, photo, seed=2)
    draws = Draws(2)
    edited = draws.uniform(6) < 0.5
    assert 0 < int(edited.sum()) < 6
    strength = 0.4 + 0.1 * draws.uniform(6, 1, 1)
    z = draws.normal(6, 32)
    with torch.no_grad():
        inversion = made.invert(photo)
        offset = strength * (made.generator.map(z)[:, None] - inversion.codes.w)
        offset[~edited] = 0
        image = fit(made.render_codes(inversion, Codes(inversion.codes.w + offset)), 64)
        second = made.invert(image)
        back = fit(made.render_codes(second, Codes(second.codes.w - offset)), 64)
    assert tiny.far(losses.fakes, image) < 1e-5
    (plain, its_photo), (returned, every_photo) = pairs
    assert tiny.far(plain, image[~edited]) < 1e-5 and torch.equal(its_photo, photo[~edited])
    assert tiny.far(returned, back) < 1e-5 and torch.equal(every_photo, photo)

    share = int((~edited).sum()) / 3  # of the rows that are unedited on the average
    delta = made.e2(made._begin(Codes(inversion.codes.w + offset)).feature, inversion.residual)[1]
    wanted = {
        "pixel": (image[~edited] - photo[~edited]).square().mean() * share,
        "perceptual": tiny.coarse(image[~edited], photo[~edited]) * share,
        "identity": tiny.who(image[~edited], photo[~edited]) * share,
        "feature": delta.detach().abs().mean(),
        "cycle_perceptual": tiny.coarse(back, photo),
        "cycle_identity": tiny.who(back, photo),
    }
    assert losses.terms.keys() == wanted.keys()
    for name, value in wanted.items():
        assert float(losses.terms[name].detach()) == pytest.approx(float(value), rel=1e-4), name
    published = {"pixel": 1, "perceptual": 1e-3, "identity": 0.1, "feature": 5}
    assert losses.weights == pytest.approx(published | {"cycle_perceptual": 1e-4, "cycle_identity": 0.1})


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_every_own_parameter_learns_whatever_is_edited(probability: float) -> None:
    made = method(replace(TINY, edit_probability=probability)).train()
    losses = made.training_loss(tiny.photos(4), tiny.context(judge=tiny.discriminator()))
    losses.total.backward()
    for name, parameter in made.named_parameters():
        if name.startswith(("generator.", "encoder.")):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
            assert float(parameter.grad.abs().max()) > 0, name
    assert all(bool(term.isfinite()) for term in losses.terms.values())
    nothing_plain = [float(losses.terms[name].detach()) == 0 for name in ("pixel", "perceptual", "identity")]
    assert nothing_plain == [probability == 1] * 3


def test_a_batch_dealt_only_one_kind_has_a_loss() -> None:
    made = method()
    kinds = {bool(Draws(seed).uniform(1) < 0.5): seed for seed in range(8)}
    for edited, seed in kinds.items():
        losses = made.training_loss(tiny.photos(1), tiny.context(seed))
        losses.total.backward()
        assert bool(losses.total.isfinite())
        terms = {name: float(term.detach()) for name, term in losses.terms.items()}
        assert (terms["pixel"] == 0) == edited
        assert terms["feature"] > 0 and terms["cycle_identity"] > 0


def test_two_processes_see_the_loss_of_one() -> None:
    made, photo = method(), tiny.photos(4)
    seed = next(s for s in range(99) if (Draws(s).uniform(4) < 0.5).tolist() == [False, False, False, True])
    whole = made.training_loss(photo, tiny.context(seed)).terms
    halves = [made.training_loss(photo[2 * r : 2 * r + 2], tiny.context(seed, rank=r, world=2)).terms for r in range(2)]
    for name, term in whole.items():
        together = (halves[0][name].detach() + halves[1][name].detach()) / 2
        assert float(together) == pytest.approx(float(term.detach()), rel=1e-4), name


def test_the_return_learns_without_the_way_there() -> None:
    """The output is re-encoded without gradient, so the encoder is never differentiated."""
    made = method()
    recorded: list[bool] = []
    made.encoder.register_forward_hook(lambda *_: recorded.append(torch.is_grad_enabled()))
    made.encoder.backbone.register_forward_hook(lambda *_: recorded.append(torch.is_grad_enabled()))
    made.training_loss(tiny.photos(), tiny.context())
    assert recorded == [False, False]  # the photo's pass and the output's


def test_without_a_difference_in_features_the_picture_is_that_of_the_codes() -> None:
    made, photo = method(), tiny.photos()
    for parameter in made.e2.delta[-1].parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        inversion = made.invert(photo)
        assert tiny.far(made.render(inversion), made.generator(inversion.codes)) < 1e-6
    assert float(made.training_loss(photo, tiny.context()).terms["feature"].detach()) == 0


def test_the_adversarial_term_falls_as_the_score_rises() -> None:
    class Score(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, image: Tensor) -> Tensor:
            return image.mean(dim=(1, 2, 3)) * 0 + self.value

    for value in (-2.0, 0.0, 3.0):
        losses = method().training_loss(tiny.photos(), tiny.context(judge=Score(value)))
        assert float(losses.terms["adversarial"].detach()) == pytest.approx(float(F.softplus(torch.tensor(-value))))
        assert losses.weights["adversarial"] == 0.1 and losses.fakes.shape == (2, 3, 64, 64)
    judge = tiny.discriminator()
    assert method().training_loss(tiny.photos(), tiny.context(judge=judge)).fakes.shape == (2, 3, 32, 32)


WEIGHTS = ("pixel", "perceptual", "identity", "adversarial", "feature", "cycle_perceptual", "cycle_identity")


@pytest.mark.parametrize("term", WEIGHTS)
def test_each_term_falls_when_it_is_what_is_trained(term: str) -> None:
    made = method(replace(TINY, **{name: float(name == term) for name in WEIGHTS})).train()
    judge = tiny.discriminator() if term == "adversarial" else None
    seed = next(s for s in range(99) if (Draws(s).uniform(2) < 0.5).tolist() == [False, True])
    values = tiny.training(
        made, lambda: made.training_loss(tiny.photos(), tiny.context(seed, judge)), term, 2e-3, steps=15
    )
    assert values[-1] < 0.9 * values[0], values
