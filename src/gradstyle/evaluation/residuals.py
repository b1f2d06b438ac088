"""What each stage of GradStyle adds, made visible in both streams: the paper's Figure 7.

A residual has hundreds of channels. Its picture is the root of their mean square at each place, as it is added to the
generator's feature (after the gate), on one scale for both streams of a stage; beside it stands what the generator
makes of the features up to that stage. The editing stream's residuals are those after alignment.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..edits import Edit
from ..methods.gradstyle import GradStyle, GradStyleInversion, StageModules
from ..metrics.similarity import l2
from ..metrics.values import Metric
from ..photos import contact_sheet, write_picture
from ..progress import Progress
from ..stylegan2 import Codes
from .ablation import Variant
from .bench import Bench, Outcome, Request
from .editing import PAPERS
from .evaluators import Seen
from .matching import FIXED
from .store import PICTURES, RunFolder

BRIGHT = 0.98  # quantile of a stage's residuals that is drawn white
METRICS = (
    Metric("residual", "Residual", "", "root mean square of what the stage adds, after the gate"),
    Metric(
        "share", "Share of the feature", "", "of the residual in the feature that it is added to, by root mean square"
    ),
    Metric("step", "Change of the picture", "", "L2 between the pictures before and after the stage"),
    Metric("moved", "Moved by the aligner", "", "RMS difference of the residual before and after, over its own"),
    Metric("l2", "L2 to the photo", "lower", "of the picture after the stage"),
)


def residuals(request: Request, say: Progress | None = None) -> RunFolder:
    """Measure and draw the residuals of every stage, and write the run's folder."""
    bench = Bench("residuals", replace(request, methods=("gradstyle",)), say)
    own = bench.bundle.method("gradstyle", device=bench.device)
    assert isinstance(own, GradStyle)
    bench.editors = {"gradstyle": Variant(bench.bundle, bench.device, own)}
    edit, named = _edit(bench, request)
    count = len(own.config.stages)
    streams = ["", *([named] if edit is not None else [])]
    conditions = [_where(stage, stream) for stream in streams for stage in range(count + 1)]
    record = bench.record(conditions, METRICS, edit=named, layers=[stage.layer for stage in own.config.stages])

    @torch.inference_mode()
    def work(method: str, photos: Tensor, seen: Seen, first: int) -> Outcome:
        inversion = own.invert(photos)
        out = Outcome()
        for stream, codes in _codes(inversion, edit, named):
            before: Tensor | None = None
            for stage, (picture, added, feature, moved) in enumerate(walk(own, inversion, codes)):
                where = _where(stage, stream)
                image = bench.gauge.look(picture.clamp(-1, 1)).images
                out.pictures[where] = image
                out.values[where, "l2"] = l2(image, seen.images)
                if added is not None and feature is not None and before is not None:
                    out.values[where, "residual"] = _rms(added)
                    out.values[where, "share"] = _rms(added) / _rms(feature)
                    out.values[where, "step"] = l2(image, before)
                    if moved is not None:
                        out.values[where, "moved"] = moved
                    out.pictures[f"residual {where}"] = _heat(added, image.shape[-1])
                before = image
        return out

    record, values, _ = bench.measure(record, work)
    _, summary = bench.summary(record, values)
    _draw(bench, own, edit, named)
    bench.finish(record, summary)
    return bench.folder


Step = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]


def walk(method: GradStyle, inversion: GradStyleInversion, codes: Codes | None) -> list[Step]:
    """A stream, stage by stage: the picture made of the features so far, what the stage added, the feature that it
    was added to, and how far alignment moved the residual. First, before any stage, the generator's own picture.
    Without codes the reconstruction stream, which aligns nothing."""
    generator = method.generator
    mine = inversion.codes if codes is None else codes
    canvas = generator.start(mine)
    steps: list[Step] = [(generator.run(canvas, mine).image, None, None, None)]
    stages = [stage for stage in method.stages if isinstance(stage, StageModules)]
    for stage, residual in zip(stages, inversion.residuals):
        canvas = generator.run(canvas, mine, to=stage.layer)
        carried = residual if codes is None else stage.aligned(residual, canvas.feature)
        moved = None if codes is None else _rms(carried - residual) / _rms(residual)
        fused, added = stage.fuse(canvas.feature, carried)
        steps.append((generator.run(canvas.replace(fused), mine).image, added, canvas.feature, moved))
        canvas = canvas.replace(fused)
    return steps


def _edit(bench: Bench, request: Request) -> tuple[Edit | None, str]:
    edits = bench.bundle.edits
    wanted = request.changes.get("edit")
    if wanted and wanted not in edits:
        raise ValueError(f"bundle {bench.bundle.name!r} has no edit {wanted!r}; it has {', '.join(edits) or 'none'}")
    if not edits:
        bench.notes.append("The bundle has no edits: the editing stream is not shown.")
        return None, ""
    name = wanted or next((name for name in PAPERS if name in edits), next(iter(edits)))
    amount = float(request.changes.get("amount") or FIXED)
    return amount * edits[name], f"{name}={amount:+g}"


def _codes(inversion: GradStyleInversion, edit: Edit | None, named: str) -> list[tuple[str, Codes | None]]:
    return [("", None), *([] if edit is None else [(named, edit.apply(inversion.codes))])]


def _where(stage: int, stream: str) -> str:
    """The condition of a stage; 0: before any."""
    return f"stage {stage}" + f", {stream}" * bool(stream)


def _rms(x: Tensor) -> Tensor:
    return x.double().square().mean(dim=(1, 2, 3)).sqrt()  # [N]


def _heat(added: Tensor, side: int) -> Tensor:
    """One picture of a residual, on its own scale: [N, 3, side, side]."""
    strength = added.float().square().mean(dim=1, keepdim=True).sqrt()  # [N, 1, H, W]
    return _grey(strength, strength.flatten(1).quantile(BRIGHT, dim=1)[:, None, None, None], side)


def _grey(strength: Tensor, white: Tensor, side: int) -> Tensor:
    light = (strength / white.clamp(min=1e-12)).clamp(0, 1) * 2 - 1
    return F.interpolate(light, (side, side), mode="nearest").expand(-1, 3, -1, -1)


@torch.inference_mode()
def _draw(bench: Bench, method: GradStyle, edit: Edit | None, named: str) -> None:
    """A sheet a photo: pictures and residuals of each stage, the reconstruction above, the edit below."""
    shown = min(bench.request.shown, len(bench.photos))
    for number in range(shown):
        batch, row = divmod(number, bench.request.batch)
        inversion = method.invert(bench.photos[batch][row : row + 1].to(bench.device))
        rows: list[list[Tensor]] = []
        streams = [walk(method, inversion, codes) for _, codes in _codes(inversion, edit, named)]
        side = bench.bundle.resolution
        for steps in streams:
            tiles = [bench.at_resolution(batch)[row].cpu(), steps[0][0][0].clamp(-1, 1).cpu()]
            for place, (picture, added, _, _) in enumerate(steps[1:], 1):
                assert added is not None
                every = [other[place][1] for other in streams]
                strengths = [a.float().square().mean(dim=1, keepdim=True).sqrt() for a in every if a is not None]
                white = torch.cat([s.flatten() for s in strengths]).quantile(BRIGHT)
                own = added.float().square().mean(dim=1, keepdim=True).sqrt()
                tiles += [_grey(own, white, side)[0].cpu(), picture[0].clamp(-1, 1).cpu()]
            rows.append(tiles)
        stages = range(1, len(method.config.stages) + 1)
        captions = ["photo", "codes", *(caption for k in stages for caption in (f"residual {k}", f"stage {k}"))]
        sheet = contact_sheet(rows, captions, max(1, -(-96 // side)))
        write_picture(sheet, bench.folder.path / PICTURES / f"stages-{number:03d}.png")
