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
from ..methods.gradstyle import GradStyle, GradStyleInversion
from ..metrics.similarity import l2
from ..metrics.values import Metric
from ..photos import contact_sheet, write_picture
from ..progress import Progress
from ..stylegan2 import Codes
from .ablation import Variant
from .alignment import stages
from .evaluators import Features
from .matching import FIXED
from .measurement import Measurement
from .protocol import PAPER_EDITS, Protocol
from .run import Run
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


def residuals(protocol: Protocol, progress: Progress | None = None) -> RunFolder:
    """Measures and draws the residuals of every stage, and writes the run's folder."""
    run = Run("residuals", replace(protocol, methods=("gradstyle",)), progress)
    own = run.bundle.method("gradstyle", device=run.device)
    assert isinstance(own, GradStyle)
    run.editors = {"gradstyle": Variant(run.bundle, run.device, own)}
    edits = _edits(run)
    conditions = [_condition(stage, stream) for stream in edits for stage in range(len(own.config.stages) + 1)]
    layers = [stage.layer for stage in own.config.stages]
    record = run.record(conditions, METRICS, edit=[*edits][-1], layers=layers)

    @torch.inference_mode()
    def work(method: str, photos: Tensor, sources: Features, first: int) -> Measurement:
        measurement = Measurement()
        for stream, steps in _streams(own, own.invert(photos), edits).items():
            before: Tensor | None = None
            for stage, (picture, added, feature, moved) in enumerate(steps):
                condition = _condition(stage, stream)
                image = run.evaluators.look(picture.clamp(-1, 1)).images
                measurement.pictures[condition] = image
                figures = {"l2": l2(image, sources.images)}
                if added is not None and feature is not None and before is not None:
                    figures |= {
                        "residual": _rms(added),
                        "share": _rms(added) / _rms(feature),
                        "step": l2(image, before),
                    }
                    if moved is not None:
                        figures["moved"] = moved
                    drawn = _grey(_strength(added), _white(_strength(added)), image.shape[-1])
                    measurement.pictures[f"residual {condition}"] = drawn
                measurement.add(condition, figures)
                before = image
        return measurement

    record, values, _ = run.measure(record, work)
    summary = run.summary(record, values)
    _draw_sheets(run, own, edits)
    return run.finish(record, summary)


Step = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]


def walk(method: GradStyle, inversion: GradStyleInversion, codes: Codes | None) -> list[Step]:
    """A stream, stage by stage: the picture made of the features so far, what the stage added, the feature that it
    was added to, and how far alignment moved the residual. First, before any stage, the generator's own picture.
    Without codes the reconstruction stream, which aligns nothing."""
    generator, mine = method.generator, inversion.codes if codes is None else codes
    steps: list[Step] = [(generator(mine), None, None, None)]
    for step in stages(method, inversion, codes):
        moved = None if codes is None else _rms(step.aligned - step.residual) / _rms(step.residual)
        picture = generator.run(step.canvas.replace(step.fused), mine).image
        steps.append((picture, step.added, step.canvas.feature, moved))
    return steps


def _edits(run: Run) -> dict[str, Edit | None]:
    """What each stream is edited with, by its name in conditions: first nothing, then the edit if there is one."""
    edits, options = run.bundle.edits, run.protocol.options
    name = options.get("edit")
    if name and name not in edits:
        raise ValueError(f"bundle {run.bundle.name!r} has no edit {name!r}; it has {', '.join(edits) or 'none'}")
    if not edits:
        run.notes.append("The bundle has no edits: the editing stream is not shown.")
        return {"": None}
    name = name or next((usual for usual in PAPER_EDITS if usual in edits), next(iter(edits)))
    amount = float(options.get("amount") or FIXED)
    return {"": None, f"{name}={amount:+g}": amount * edits[name]}


def _streams(method: GradStyle, inversion: GradStyleInversion, edits: dict[str, Edit | None]) -> dict[str, list[Step]]:
    return {
        stream: walk(method, inversion, None if edit is None else edit.apply(inversion.codes))
        for stream, edit in edits.items()
    }


def _condition(stage: int, stream: str) -> str:
    """The condition of a stage; 0: before any."""
    return f"stage {stage}" + f", {stream}" * bool(stream)


def _rms(x: Tensor) -> Tensor:
    return x.double().square().mean(dim=(1, 2, 3)).sqrt()  # [N]


def _strength(added: Tensor) -> Tensor:
    return added.float().square().mean(dim=1, keepdim=True).sqrt()  # [N, 1, H, W]


def _white(strength: Tensor) -> Tensor:
    """What is drawn white of each picture."""
    return strength.flatten(1).quantile(BRIGHT, dim=1)[:, None, None, None]


def _grey(strength: Tensor, white: Tensor, side: int) -> Tensor:
    light = (strength / white.clamp(min=1e-12)).clamp(0, 1) * 2 - 1
    return F.interpolate(light, (side, side), mode="nearest").expand(-1, 3, -1, -1)


@torch.inference_mode()
def _draw_sheets(run: Run, method: GradStyle, edits: dict[str, Edit | None]) -> None:
    """A sheet a photo: pictures and residuals of each stage, the reconstruction above, the edit below."""
    side, numbers = run.bundle.resolution, range(1, len(method.config.stages) + 1)
    captions = ["photo", "codes", *(caption for k in numbers for caption in (f"residual {k}", f"stage {k}"))]
    for number in range(min(run.protocol.shown, len(run.photos))):
        batch, row = divmod(number, run.protocol.batch)
        inversion = method.invert(run.photos[batch][row : row + 1].to(run.device))
        streams = [*_streams(method, inversion, edits).values()]
        rows = [[run.sources(batch).images[row].cpu(), steps[0][0][0].clamp(-1, 1).cpu()] for steps in streams]
        for steps in zip(*(steps[1:] for steps in streams)):
            strengths = [_strength(added) for _, added, _, _ in steps if added is not None]
            white = torch.cat([strength.flatten() for strength in strengths]).quantile(BRIGHT)
            for tiles, strength, (picture, *_) in zip(rows, strengths, steps):
                tiles += [_grey(strength, white, side)[0].cpu(), picture[0].clamp(-1, 1).cpu()]
        sheet = contact_sheet(rows, captions, max(1, -(-96 // side)))
        write_picture(sheet, run.folder.path / PICTURES / f"stages-{number:03d}.png")
