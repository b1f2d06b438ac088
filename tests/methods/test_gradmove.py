"""GradMove, piece by piece. Each test fails when what it is about is broken."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradstyle.methods import gradmove
from gradstyle.methods.gradmove import GradMove, GradMoveConfig, GradMoveInversion, Keys, Mover, StageModules
from gradstyle.methods.gradstyle import GradStyle, Stage, stages_kept
from gradstyle.methods.method import Losses, fit
from gradstyle.methods.selective_attention import sinusoidal_positions
from gradstyle.methods.warp import random_perspectives, warp
from gradstyle.motion import Motion, sampled
from gradstyle.stylegan2 import Codes
from tests.support import tiny

CONFIG: GradMoveConfig = tiny.CONFIGS["gradmove"]  # stages of 8, 16 and 16 px
SIDE = 16
INSIDE = (..., slice(5, 12), slice(6, 12))  # where a shift by (3, -2) or half a place shows nothing of a border


def method(config: GradMoveConfig = CONFIG, shaken: bool = True) -> GradMove:
    made = tiny.method("gradmove", config, shaken)
    assert isinstance(made, GradMove)
    return made


def stages(made: GradMove) -> list[StageModules]:
    return [stage for stage in made.stages if isinstance(stage, StageModules)]


def mover(**changes: object) -> Mover:
    """Of features 32 wide. It sees a place and nothing around it, and not where it is."""
    torch.manual_seed(0)
    made = Mover(32, replace(CONFIG, match_width=32, **changes))  # type: ignore[arg-type]
    with torch.no_grad():
        made.position.zero_()
    return made


def maps(seed: int = 1) -> tuple[Tensor, Tensor]:
    """A feature and a residual."""
    feature, residual = torch.randn(2, 2, 32, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return feature, residual


# ---- the mover


@torch.inference_mode()
def test_what_has_moved_by_whole_places_is_found_exactly() -> None:
    made, (feature, residual) = mover(), maps()
    x, y = 3, -2
    moved, motion = made(residual, made.keys([feature]), [feature.roll((y, x), (2, 3))])
    found = motion.offset[INSIDE] * SIDE
    wanted = torch.tensor([-x, -y], dtype=torch.float32)[:, None, None].expand_as(found)  # where it was
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    torch.testing.assert_close(motion.visible[INSIDE], torch.ones_like(found[:, :1]), rtol=0, atol=1e-3)
    torch.testing.assert_close(moved[INSIDE], residual.roll((y, x), (2, 3))[INSIDE], rtol=0, atol=1e-2)


@torch.inference_mode()
def test_what_has_moved_by_half_a_place_is_found_nearly() -> None:
    made, (feature, residual) = mover(refuses=False), maps()
    for _ in range(4):  # smooth, as features of a generator are
        feature = F.avg_pool2d(F.pad(feature, (1, 1, 1, 1), "circular"), 3, stride=1)
    halfway = (feature + feature.roll(1, 3)) / 2
    moved, motion = made(residual, made.keys([feature]), [halfway])
    x, y = (motion.offset[INSIDE] * SIDE).unbind(1)
    assert float((x + 0.5).abs().max()) < 0.2 and float(y.abs().max()) < 0.2, (x, y)
    torch.testing.assert_close(moved, sampled(residual, motion.offset, "bicubic"))


@pytest.mark.parametrize("seed", range(4))
@torch.inference_mode()
def test_without_an_edit_nothing_moves_whatever_was_learned(seed: int) -> None:
    made = method()
    torch.manual_seed(seed)
    for stage in stages(made):
        for parameter in stage.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    inversion = made.invert(tiny.photos())
    editing = made._edited(inversion, inversion.codes)
    for motion, moved, residual in zip(editing.motions, editing.moved, inversion.residuals):
        torch.testing.assert_close(motion.offset, torch.zeros_like(motion.offset), rtol=0, atol=1e-5)
        torch.testing.assert_close(motion.visible, torch.ones_like(motion.visible), rtol=0, atol=1e-5)
        torch.testing.assert_close(moved, residual, rtol=0, atol=1e-4 * float(residual.abs().max()))


def defined(made: Mover, query: Tensor, keys: Tensor, best: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What `_match` is to give, place by place."""
    reach, (height, width) = made.config.reach, keys.shape[2:]
    found, weighed = [], []
    for n in range(len(query)):
        for at in range(height * width):
            scores = torch.einsum("c,chw->hw", query[n].flatten(1)[:, at], keys[n])
            top = int(scores.argmax()) if best is None else int(best[n, at])
            near = []
            for y in range(top // width - reach, top // width + reach + 1):
                for x in range(top % width - reach, top % width + reach + 1):
                    there = 0 <= y < height and 0 <= x < width
                    near.append(made.sharpness.exp() * scores[y, x] if there else torch.tensor(-math.inf))
            found.append(top)
            weighed.append(torch.stack(near).softmax(dim=0))
    shape = len(query), height * width
    return torch.tensor(found).view(shape), torch.stack(weighed).unflatten(0, shape).mT


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("rows", [1, 7, 30])
def test_matches_are_what_their_definition_says(rows: int, given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows of scores are held at a time, and with the same gradients."""
    made, draw = mover(reach=2), torch.Generator().manual_seed(2)
    query, keys = (F.normalize(torch.randn(2, 4, 5, 6, generator=draw), dim=1).requires_grad_() for _ in range(2))
    best = torch.randint(30, (2, 30), generator=draw) if given else None
    asked = torch.randn(2, 25, 30, generator=draw)
    monkeypatch.setattr(gradmove, "ROWS", rows * 2 * 30)
    results = []
    for find in (made._match, lambda *given: defined(made, *given)):
        at, weights = find(query, keys, best)
        results.append((at, weights, *torch.autograd.grad((weights * asked).sum(), (query, keys, made.sharpness))))
    (at, *ours), (at_defined, *theirs) = results
    assert torch.equal(at, at_defined)
    for mine, wanted in zip(ours, theirs):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_the_gate_falls_where_what_is_looked_for_is_not_there() -> None:
    made, (feature, residual) = mover(), maps()
    for weight in made.differs.parameters():
        weight.mul_(8)  # before training it takes nearly all
    query = feature.clone()
    query[..., SIDE // 2 :] = maps(seed=8)[0][..., SIDE // 2 :]
    keys = made.keys([feature])
    moved, motion = made(residual, keys, [query])
    shown, hidden = motion.visible[..., : SIDE // 2 - 3], motion.visible[..., SIDE // 2 + 3 :]
    assert float(shown.min()) > 0.95 and float(hidden.mean()) < 0.8 and float(hidden.min()) >= 0

    looked_for, found = made.places([query]), sampled(keys.places, motion.offset)
    same = made.differs(torch.cat([found, torch.zeros_like(found)], dim=1))
    other = made.differs(torch.cat([found, looked_for - found], dim=1))
    torch.testing.assert_close(motion.visible, (-((other - same) ** 2)).exp())
    torch.testing.assert_close(moved, motion.visible * sampled(residual, motion.offset, "bicubic"))

    trusting = mover(refuses=False)
    trusting.load_state_dict({k: v for k, v in made.state_dict().items() if not k.startswith("differs.")})
    moved, trusted = trusting(residual, keys, [query])
    assert torch.equal(trusted.visible, torch.ones_like(motion.visible))
    torch.testing.assert_close(trusted.offset, motion.offset)
    torch.testing.assert_close(moved, sampled(residual, motion.offset, "bicubic"))


@torch.inference_mode()
def test_attention_reads_a_mean_over_the_matches() -> None:
    made, (feature, residual) = mover(reading="attention", reach=1), maps()
    query = maps(seed=8)[0]
    keys = made.keys([feature])
    moved, motion = made(residual, keys, [query])
    best, weights = made._match(made.places([query]), keys.places)
    wanted = torch.zeros_like(residual)
    for n in range(2):
        for at in range(SIDE**2):
            steps = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
            for (y, x), weight in zip(steps, weights[n, :, at]):
                y, x = int(best[n, at]) // SIDE + y, int(best[n, at]) % SIDE + x
                if 0 <= y < SIDE and 0 <= x < SIDE:
                    wanted[n, :, at // SIDE, at % SIDE] += weight * residual[n, :, y, x]
    torch.testing.assert_close(moved, wanted * motion.visible)


@torch.inference_mode()
def test_places_are_unit_vectors_of_this_and_the_coarser_features_at_any_scale() -> None:
    torch.manual_seed(0)
    made = Mover(48, CONFIG)
    tiny.shake(made)
    coarse, fine = torch.randn(2, 16, 8, 8), torch.randn(2, 32, SIDE, SIDE)
    places = made.places([coarse, fine])
    torch.testing.assert_close(places.norm(dim=1), torch.ones(2, SIDE, SIDE))
    torch.testing.assert_close(made.places([7 * coarse, fine / 5]), places, rtol=0, atol=1e-5)
    for other in ([coarse.flip(2), fine], [coarse, fine.flip(2)]):
        assert tiny.far(made.places(other), places) > 0.1

    def scaled(feature: Tensor) -> Tensor:  # each feature counts as much as another, however many channels it has
        return feature / feature.square().mean(dim=(1, 2, 3), keepdim=True).sqrt() / math.sqrt(feature.shape[1])

    larger = F.interpolate(scaled(coarse), scale_factor=2, mode="bilinear")
    seen = made.describe(torch.cat([larger, scaled(fine)], dim=1))
    seen = seen + F.conv2d(seen, made.context.weight, padding=1)
    seen = seen / seen.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    where = sinusoidal_positions(SIDE, SIDE, CONFIG.match_width).T.unflatten(1, (SIDE, SIDE))
    where = where / where.square().mean().sqrt()  # at a weight of 1 as much as what is there
    torch.testing.assert_close(places, F.normalize(seen + made.position * where, dim=1), rtol=0, atol=1e-5)

    same = torch.ones_like(coarse), torch.ones_like(fine)  # told apart by where they are alone
    made.context.weight.zero_()  # it sees the border
    assert not torch.allclose(made.places([*same])[..., 3, 3], made.places([*same])[..., 3, 4], atol=1e-2)
    made.position.zero_()
    torch.testing.assert_close(made.places([*same])[..., 3, 3], made.places([*same])[..., 9, 4])


# ---- keys


@torch.inference_mode()
def test_keys_are_those_of_the_reconstruction_or_in_the_ablation_of_the_residuals() -> None:
    made, photo = method(), tiny.photos()
    ablated = method(replace(CONFIG, keys="residual"))
    codes, taps = made.encoder(photo)
    canvas, features, residuals = made.generator.start(codes), [], []
    plain, other = made.invert(photo), ablated.invert(photo)
    for stage, ours, theirs in zip(stages(made), plain.keys, other.keys):
        canvas = made.generator.run(canvas, codes, to=stage.layer)
        features.append(canvas.feature)
        residuals.append(stage.lacking(taps, canvas.feature))
        canvas = canvas.replace(stage.fuse(canvas.feature, residuals[-1])[0])
        for keys, maps_ in ((ours, features), (theirs, residuals)):
            wanted = stage.move.keys(maps_)
            torch.testing.assert_close(keys.places, wanted.places, rtol=0, atol=1e-4)
            torch.testing.assert_close(keys.rest, wanted.rest, rtol=0, atol=1e-3)
        assert tiny.far(ours.places, theirs.places) > 0.1


@torch.inference_mode()
def test_what_is_looked_up_is_seen_under_warps() -> None:
    inversion = method().invert(tiny.photos())
    still = inversion.under(torch.eye(3).expand(2, -1, -1))
    warps = random_perspectives(2, tiny.context().draws)
    bent = inversion.under(warps)
    for before, same, after in zip(inversion.keys, still.keys, bent.keys):
        torch.testing.assert_close(same.places, before.places, rtol=0, atol=1e-5)
        torch.testing.assert_close(same.rest, before.rest, rtol=0, atol=1e-5)
        torch.testing.assert_close(after.places, F.normalize(warp(before.places, warps), dim=1))
        torch.testing.assert_close(after.rest, warp(before.rest, warps))
    for before, same, after in zip(inversion.residuals, still.residuals, bent.residuals):
        torch.testing.assert_close(same, before, rtol=0, atol=1e-5)
        torch.testing.assert_close(after, warp(before, warps))
    far = Keys(torch.ones(1, 4, 8, 8), torch.ones(1, 2, 8, 8)).under(torch.diag(torch.tensor([4.0, 4, 1]))[None])
    assert not far.places[..., 0].any()  # beyond the map


# ---- details, motion, weights


def walked(made: GradMove, inversion: GradMoveInversion, codes: Codes, kept: list[float], edited: bool) -> Tensor:
    """A picture with such shares of the stages' details, stage by stage."""
    canvas, features = made.generator.start(codes), []
    for stage, residual, keys, share in zip(stages(made), inversion.residuals, inversion.keys, kept):
        canvas = made.generator.run(canvas, codes, to=stage.layer)
        features.append(canvas.feature)
        added = stage.move(share * residual, keys, features)[0] if edited else share * residual
        if share:
            canvas = canvas.replace(stage.fuse(canvas.feature, added)[0])
    return made.generator.run(canvas, codes).image


@torch.inference_mode()
def test_details_leave_from_the_finest_on() -> None:
    made, smile = method(), tiny.an_edit()
    inversion = made.invert(tiny.photos())
    codes = inversion.codes
    moved = smile.apply(codes)
    for share, kept in ((1, [1, 1, 1]), (2 / 3, [1, 1, 0]), (0.5, [1, 0.5, 0]), (1 / 3, [1, 0, 0]), (0, [0, 0, 0])):
        less = made.at_detail(inversion, share)
        plain, edited = made.render(less), made.render(less, smile)
        torch.testing.assert_close(plain, walked(made, inversion, codes, kept, False), rtol=0, atol=1e-4)
        torch.testing.assert_close(edited, walked(made, inversion, moved, kept, True), rtol=0, atol=1e-4)
    torch.testing.assert_close(plain, made.generator(codes), rtol=0, atol=1e-5)
    torch.testing.assert_close(edited, made.generator(moved), rtol=0, atol=1e-5)
    assert tiny.far(made.render(inversion), plain) > 0.05 and tiny.far(made.render(inversion, smile), edited) > 0.05
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            made.at_detail(inversion, share)


@torch.inference_mode()
def test_motion_is_the_finest_stages_in_shares_of_the_side() -> None:
    made = method()
    inversion = made.invert(tiny.photos())
    codes = tiny.an_edit().apply(inversion.codes)
    given: list[Motion] = []
    stages(made)[-1].move.register_forward_hook(lambda _m, _i, out: given.append(out[1]))
    motion = made.motion(inversion, codes)
    assert motion is given[0] and motion.offset.shape == (2, 2, SIDE, SIDE)
    here = torch.arange(SIDE) / SIDE
    came_from = motion.offset + torch.stack(torch.meshgrid(here, here, indexing="xy"))
    edge = (CONFIG.reach + 0.5) / SIDE  # a mean of places on the map, less what rest is
    assert bool(motion.offset.any()) and float(came_from.min()) > -edge and float(came_from.max()) < 1 + edge


def test_residuals_and_gates_of_gradstyle_are_taken_over() -> None:
    made, theirs = method(), tiny.method("gradstyle")
    tiny.shake(theirs, seed=11)
    before = {key: value.clone() for key, value in made.own_state().items()}
    made.load_shared(theirs.own_state())
    after, given = made.own_state(), theirs.own_state()
    for key, value in after.items():
        assert torch.equal(value, before[key] if ".move." in key else given[key]), key
    assert any(not torch.equal(after[key], before[key]) for key in after)
    shorter = GradStyle(theirs.generator, theirs.encoder, replace(theirs.config, stages=theirs.config.stages[:2]))
    with pytest.raises(ValueError, match=r"missing: stages\.2\.residual"):
        made.load_shared(shorter.own_state())


def test_wrong_shapes_are_refused() -> None:
    for wrong in ((), (Stage(3, "p2"), Stage(1, "c3")), (Stage(1, "c3"), Stage(1, "p2"))):
        with pytest.raises(ValueError, match="rising layers"):
            GradMoveConfig(wrong)
    for name in ("residual_width", "residual_units", "match_width", "refuse_width"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            replace(CONFIG, **{name: 0})
    with pytest.raises(ValueError, match="match_width must be a multiple of 4"):
        replace(CONFIG, match_width=6)
    for reach in (0, 17):
        with pytest.raises(ValueError, match=f"reach must be from 1 to 16, got {reach}"):
            replace(CONFIG, reach=reach)
    with pytest.raises(ValueError, match="layer 5: a method works on maps of at most half the image's side"):
        method(replace(CONFIG, stages=(Stage(5, "p1"),)))


# ---- what it learns from


def test_how_many_stages_a_photo_has_in_training() -> None:
    def shares(stages_: int, fewer: float) -> list[float]:
        kept = stages_kept(20_000, stages_, fewer, tiny.context().draws)
        assert kept.shape == (20_000,)
        return [float((kept == count).float().mean()) for count in range(stages_ + 2)]

    assert shares(3, 0.4) == pytest.approx([0, 0.2, 0.2, 0.6, 0], abs=0.02)
    assert shares(4, 1.0) == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0, 0], abs=0.02)
    assert shares(3, 0.0) == [0, 0, 0, 1, 0] and shares(1, 1.0) == [0, 1, 0]


@torch.inference_mode()
def test_random_edits_go_part_of_a_way_in_a_range_of_the_layers() -> None:
    made, rows, layers = method(), 600, tiny.generator().config.codes
    codes = made.generator.codes(torch.zeros(rows, 32))
    offsets = made._offsets(codes, tiny.context().draws)
    assert offsets.shape == (rows, layers, 32)
    draws = tiny.context().draws
    strength = draws.uniform(rows, 1, 1)
    way = (made._random(rows, draws) - made._random(rows, draws))[:, None]
    moves = offsets.flatten(2).any(dim=-1)
    wanted = (0.2 + 0.6 * strength) * way * moves[:, :, None]
    torch.testing.assert_close(offsets, wanted, rtol=1e-4, atol=1e-6)
    starts, turns = moves[:, 0].float().mean(), moves.int().diff(dim=1, prepend=torch.zeros(rows, 1, dtype=torch.int))
    assert bool(((turns > 0).sum(dim=1) == 1).all()) and bool(((turns < 0).sum(dim=1) <= 1).all())  # one range each
    assert 0.5 < float(starts) < 0.7  # half of them, and those whose draw falls into the first layer
    assert bool(moves.any(dim=0).all()) and float(moves.all(dim=1).float().mean()) < 0.2


@torch.inference_mode()
def test_random_codes_are_drawn_towards_the_mean() -> None:
    made = method()
    made.generator.mean_w.fill_(3.0)
    w = made._random(4, tiny.context().draws)
    free = made.generator.map(tiny.context().draws.normal(4, 32))
    torch.testing.assert_close(w, 3.0 + 0.85 * (free - 3.0))


@pytest.mark.parametrize("mixed", [0.0, 1.0])
@torch.inference_mode()
def test_pairs_are_what_the_generator_makes_of_codes_and_of_moved_codes(mixed: float) -> None:
    made, rows = method(replace(CONFIG, mixed=mixed)), 32
    lent = Codes(torch.randn(rows, 8, 32, generator=torch.Generator().manual_seed(1)))
    drawn: list[Codes] = []
    handle = made.generator.register_forward_hook(lambda _m, given, _o: drawn.append(given[0]))
    pairs = made._pairs(lent, tiny.context().draws)
    handle.remove()
    start, moved = drawn[0].w.chunk(2)
    torch.testing.assert_close(moved - start, pairs.offsets, rtol=1e-4, atol=1e-5)
    assert bool(pairs.offsets.flatten(1).any(dim=1).all())
    assert torch.equal(start[0::2], lent.w[0::2])
    for w in start[1::2]:
        styles = torch.unique(w, dim=0)
        assert len(styles) == (2 if mixed else 1)
        assert torch.equal(w[0], w[1])  # the coarsest never mix
    for picture, w in ((pairs.before, start), (pairs.after, moved)):
        torch.testing.assert_close(picture, made.generator(Codes(w)).clamp(-1, 1), rtol=0, atol=1e-5)


def test_where_a_pair_is_not_taken_a_photo_stands_unedited() -> None:
    pairs = gradmove.Pairs(*torch.randn(2, 3, 3, 4, 4), torch.randn(3, 8, 32))
    photos, taken = torch.randn(3, 3, 4, 4), torch.tensor([True, False, True])[:, None, None]
    some = pairs.where(taken, photos)
    for i, theirs in enumerate((True, False, True)):
        assert torch.equal(some.before[i], pairs.before[i] if theirs else photos[i])
        assert torch.equal(some.after[i], pairs.after[i] if theirs else photos[i])
        assert torch.equal(some.offsets[i], pairs.offsets[i] if theirs else torch.zeros(8, 32))


@pytest.mark.parametrize(("warped", "seed"), [(0.0, 1), (0.5, 3)])
def test_each_loss_term_is_what_it_is_said_to_be(warped: float, seed: int) -> None:
    """Photo by photo, with the parts that the tests above are about; and the same gradients."""
    made, photo, judge = method(replace(CONFIG, warped=warped, fewer_stages=0.7)), tiny.photos(6), tiny.discriminator()
    learning = [weight for weight in made.parameters() if weight.requires_grad]
    together = made.training_loss(photo, tiny.context(seed, judge))
    gradients = torch.autograd.grad(together.total, learning)

    context, count, half, lent = tiny.context(seed, judge), len(stages(made)), fit(photo[:3], 32), fit(photo[3:], 32)
    with torch.no_grad():
        codes = [Codes(w[None]) for w in made.encoder(photo[:3])[0].w]
        pairs = made._pairs(made.encoder(photo[3:])[0], context.draws)
    bent = (context.draws.uniform(3, 1, 1) < warped).flatten().tolist()
    kept = stages_kept(6, count, 0.7, context.draws).tolist()
    warps = random_perspectives(3, context.draws, CONFIG.warp_distortion)
    ways = made._offsets(Codes.cat(codes), context.draws)
    assert {*kept[3:]} > {count} and bent.count(True) == (1 if warped else 0)

    def add_up(inversion: GradMoveInversion) -> list[Tensor]:
        canvas, sums = made.generator.start(inversion.codes), []
        for stage, residual in zip(stages(made), inversion.residuals):
            canvas = made.generator.run(canvas, inversion.codes, to=stage.layer)
            fused, added = stage.fuse(canvas.feature, residual)
            canvas = canvas.replace(fused)
            sums.append(added.abs().mean())
        return sums

    backs, edits, returns, gates = [], [], [], []
    for i in range(3):
        inversion = made.at_detail(made.invert(photo[i : i + 1], codes[i]), kept[i] / count)
        gates.append(add_up(inversion))
        backs.append(made.reconstruct(inversion))
        there = Codes(codes[i].w + ways[i])
        edits.append(made.render_codes(inversion, there))
        with torch.no_grad():
            codes_and_taps = there, made.encoder(edits[i].clamp(-1, 1))[1]
        again = made.at_detail(made._inverted(*codes_and_taps)[0], kept[i] / count)
        returns.append(made.render_codes(again, codes[i]))

    shown, targets = [], []
    errors, sizes = torch.zeros(2, count)
    errors, sizes = list(errors), list(sizes)
    for i in range(3):
        before, after, way = pairs.before[i], pairs.after[i], pairs.offsets[i]
        if bent[i]:
            before, after, way = lent[i], lent[i], torch.zeros_like(way)
        with torch.no_grad():
            its, _ = made.encoder(before[None])
            _, taps = made.encoder(after[None])
        inversion = made.at_detail(made.invert(before[None], its), kept[3 + i] / count)
        gates.append(add_up(inversion))
        inversion = inversion.under(warps[i : i + 1]) if bent[i] else inversion
        there = Codes(its.w + way)
        shown.append(made.render_codes(inversion, there))
        targets.append(after[None])
        editing = made._edited(inversion, there)
        for number, stage in enumerate(stages(made)[: kept[3 + i]]):
            truth = stage.lacking(taps, editing.features[number]).detach()
            errors[number] = errors[number] + (editing.moved[number] - truth).abs().sum()
            sizes[number] = sizes[number] + truth.abs().sum()

    fakes = torch.cat([*edits, *backs])
    wanted = {
        "gate": sum(sum(each) for each in gates) / 6,
        "aligner": sum(error / size for error, size in zip(errors, sizes) if size > 0),
        "adversarial": F.softplus(-judge(fakes)).mean(),
    }
    compared = {"l2": lambda a, b: (a - b).square().mean(), "perceptual": tiny.coarse, "identity": tiny.who}
    for name, compare in compared.items():
        first = compare(torch.cat([*backs, *shown]), torch.cat([half, *targets]))
        wanted[name] = first + CONFIG.weight_cycle * compare(torch.cat(returns), half)
    assert set(wanted) == set(together.terms)
    for name, value in wanted.items():
        torch.testing.assert_close(together.terms[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert together.fakes is not None and not together.fakes.requires_grad
    torch.testing.assert_close(together.fakes, fakes.detach(), rtol=0, atol=1e-4)
    weights = {"l2": 1, "perceptual": 0.8, "identity": 0.1, "adversarial": 0.02, "gate": 0.05, "aligner": 0.2}
    assert together.weights == weights
    alone = torch.autograd.grad(Losses(wanted, weights).total, learning)
    for gradient, single in zip(gradients, alone):
        assert float((gradient - single).norm()) < 1e-3 * float(single.norm()) + 1e-6


def test_without_a_discriminator_or_its_weight_nothing_is_adversarial() -> None:
    for config, judge in ((CONFIG, None), (replace(CONFIG, weight_adversarial=0.0), tiny.discriminator())):
        losses = method(config).training_loss(tiny.photos(), tiny.context(judge=judge))
        assert "adversarial" not in losses.terms and losses.fakes is None
        assert {"gate", "aligner", "l2", "perceptual", "identity"} == set(losses.terms)


def test_a_single_photo_is_learned_from() -> None:
    losses = method().training_loss(tiny.photos(1), tiny.context(0, tiny.discriminator()))
    assert all(bool(term.isfinite()) for term in losses.terms.values())


@torch.inference_mode()
def test_one_that_finds_the_way_back_from_a_warp_has_the_smaller_error(monkeypatch: pytest.MonkeyPatch) -> None:
    made = method(replace(CONFIG, warped=1.0, warp_distortion=0.5, match_width=32, refuses=False, fewer_stages=0.0))
    for stage in stages(made):  # it knows what is there, and nothing else
        stage.move.position.zero_()
        stage.move.context.weight.zero_()

    def error() -> float:
        return float(made.training_loss(tiny.photos(8), tiny.context()).terms["aligner"])

    found = error()
    monkeypatch.setattr(Mover, "forward", lambda _self, residual, *_: (residual, Motion.none(len(residual), SIDE)))
    assert found < 0.6 * error()
