"""Edits whose truth is known: pictures of the generator's own, before and after.

Of a photo nobody knows what it looks like with a smile. Of a picture G(w) that the generator made, the generator knows:
it is G(w + a·d). A method gets the picture alone, inverts it with the encoder, whose codes are not w, renders the same
edit of its own codes, and is compared with that truth pixel by pixel. What it cannot show: the truth is the
generator's, with all that the edit changes beside its name, and its pictures are easier for the encoder than photos.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256

import torch
from torch import Tensor

from ..bundles import Bundle
from ..edits import Edit
from ..metrics.attributes import amounts_within
from ..metrics.similarity import rounded
from ..metrics.values import UNEDITED
from ..progress import Progress
from ..rng import stream
from ..stylegan2 import Codes, Generator
from .evaluators import Features
from .measurement import Measurement, OncePerBatch
from .photos import Pictures
from .protocol import Protocol, edit_names
from .run import Run
from .store import Picture, RunFolder, picture_name

COUNT = 200
EDITS = ("smile", "age", "yaw")
STEPS = (1.5,)
TRUNCATION = 0.7  # as `gradstyle sample` has it
MIXED = 0.5  # share of the pictures whose finer layers are of a second sample: no code of the mapping network's
TRUTH = "truth"  # stands for a method where pictures of the truth are shown


@dataclass(frozen=True)
class Change:
    """An edit at one amount, and the condition that it is measured under."""

    condition: str
    edit: Edit


class Samples(Pictures):
    """Pictures of a generator, and the codes that they were made of."""

    def __init__(
        self,
        generator: Generator,
        count: int,
        batch: int,
        truncation: float = TRUNCATION,
        mixed: float = MIXED,
        seed: int = 0,
    ) -> None:
        super().__init__(batch)
        if not 0 <= mixed <= 1:
            raise ValueError(f"the mixed ones are a share of the pictures, 0 … 1, got {mixed:g}")
        self.generator = generator
        self.codes, self.layers = samples(generator, count, truncation, mixed, seed)

    @property
    def names(self) -> tuple[str, ...]:
        """Numbers; of a mixed one with the first layer of the second sample."""
        whole = self.generator.config.codes
        return tuple(f"{i:04d}" + f"-mixed-{layer}" * (layer < whole) for i, layer in enumerate(self.layers))

    @property
    def about(self) -> dict[str, str]:
        digest = sha256(self.codes.w.cpu().numpy().tobytes()).hexdigest()[:12]
        return {"name": "pictures of the generator", "fingerprint": digest, "split": ""}

    def of(self, batch: int) -> Codes:
        """The true codes of a batch."""
        return self.codes[batch * self.batch : (batch + 1) * self.batch]

    @torch.inference_mode()
    def __getitem__(self, batch: int) -> Tensor:
        return rounded(self.generator(self.of(batch)))


@torch.inference_mode()
def samples(generator: Generator, count: int, truncation: float, mixed: float, seed: int) -> tuple[Codes, list[int]]:
    """Codes of random pictures, and for each the first layer whose code is of a second sample; their number: none is.

    The mixed ones are spread evenly, and their layers drawn from the second to the last.
    """
    layers, random = generator.config.codes, stream("pairs", seed)
    first, second = (
        generator.codes(generator.map(torch.randn(count, generator.config.z_dim, generator=random), truncation))
        for _ in range(2)
    )
    drawn = torch.randint(1, layers, (count,), generator=random).tolist()
    chosen = [round((i + 1) * mixed) > round(i * mixed) for i in range(count)]
    starts = [layer if is_mixed else layers for layer, is_mixed in zip(drawn, chosen)]
    later = torch.arange(layers) >= torch.tensor(starts)[:, None]  # [N, layers]
    return Codes(torch.where(later[..., None].to(first.w.device), second.w, first.w)), starts


class PairsRun(Run):
    """On pictures of the generator instead of photos."""

    def _open_photos(self) -> Samples:
        protocol, options = self.protocol, self.protocol.options
        self.samples = Samples(
            self.bundle.generator(device=self.device),  # which all methods share: none is drawn otherwise
            protocol.photos or COUNT,
            protocol.batch,
            float(options.get("truncation", TRUNCATION)),
            float(options.get("mixed", MIXED)),
            protocol.seed,
        )
        return self.samples


def pairs(protocol: Protocol, progress: Progress | None = None) -> RunFolder:
    """Measures every method's edits of the generator's pictures against the generator's own, and writes the run."""
    options = protocol.options
    steps = tuple(sorted(options.get("steps") or STEPS))
    changes = changes_of(Bundle.load(protocol.bundle), tuple(options.get("edits") or ()), steps)
    run = PairsRun("pairs", protocol, progress)
    run.methods = (*run.methods, UNEDITED)
    evaluators, photos = run.evaluators, run.samples

    @torch.inference_mode()
    def look_at_truths(batch: int) -> dict[str, Features]:
        codes = photos.of(batch)
        return {each.condition: evaluators.look(photos.generator(each.edit.apply(codes))) for each in changes}

    truths = OncePerBatch(look_at_truths, run.workers + 1)

    def work(method: str, pictures: Tensor, sources: Features, first: int) -> Measurement:
        batch, row = divmod(first, protocol.batch)
        targets = {"": sources, **truths(batch)}
        if len(sources) < len(photos.names_of(batch)):  # one picture of a batch that failed as a whole
            targets = {condition: target[row] if condition else target for condition, target in targets.items()}
        measurement = Measurement()
        if method == UNEDITED:  # it is the source, whose pictures are kept anyway
            answers = dict.fromkeys(targets, sources)
        else:
            editor = run.editors[method]
            inversion = editor.invert(pictures)
            answers = {"": evaluators.look(editor.render(inversion))}
            answers |= {each.condition: evaluators.look(editor.render(inversion, each.edit)) for each in changes}
            measurement.pictures = {condition: answer.images for condition, answer in answers.items()}
        for condition, answer in answers.items():
            measurement.add(condition, evaluators.compare(answer, targets[condition]))
        return measurement

    record = run.record(
        ["", *(change.condition for change in changes)],
        evaluators.pair_metrics,
        steps=list(steps),
        edited=[change.condition for change in changes],
        truncation=options.get("truncation", TRUNCATION),
        mixed=options.get("mixed", MIXED),
    )
    record, values, _ = run.measure(record, work)
    summary = run.summary(record, values)
    drawn = []  # pictures of the truth, for the report to show beside the methods'
    for number, name in enumerate(photos.names[: protocol.shown]):
        batch, row = divmod(number, protocol.batch)
        for condition, truth in truths(batch).items():
            drawn.append(Picture(name, TRUTH, condition, picture_name(number, TRUTH, condition)))
            run.save_picture(truth.images[row], drawn[-1].file)
    return run.finish(replace(record, pictures=(*record.pictures, *drawn)), summary)


def changes_of(bundle: Bundle, wanted: tuple[str, ...], steps: tuple[float, ...]) -> list[Change]:
    """The edits that the person names, else the usual ones that the bundle has, else its first; in their sliders."""
    edits, sliders, reach = bundle.edits, bundle.sliders, max(steps)
    changes = []
    for name in edit_names(bundle, wanted, [name for name in EDITS if name in edits] or list(edits)[:1]):
        low, high = (sliders[name].low, sliders[name].high) if name in sliders else (-reach, reach)
        changes += [Change(f"{name}={a:+g}", a * edits[name]) for a in amounts_within(low, high, steps)]
    return changes
