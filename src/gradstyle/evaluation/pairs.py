"""Edits whose truth is known: pictures of the generator's own, before and after.

Of a photo nobody knows what it looks like with a smile. Of a picture G(w) that the generator made, the generator knows:
it is G(w + a·d). A method gets the picture alone, inverts it with the encoder, whose codes are not w, renders the same
edit of its own codes, and is compared with that truth pixel by pixel. What it cannot show: the truth is the
generator's, with all that the edit changes beside its name, and its pictures are easier for the encoder than photos.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from hashlib import sha256

import torch
from torch import Tensor

from ..bundles import Bundle
from ..edits import Edit
from ..metrics.attributes import amounts_within
from ..metrics.similarity import rounded
from ..metrics.values import UNEDITED
from ..photos import to_photo
from ..progress import Progress
from ..rng import stream
from ..stylegan2 import Codes, Generator
from .bench import Bench, Outcome, Request
from .evaluators import Seen
from .photos import Pictures
from .store import Picture, RunFolder, picture_name

COUNT = 200
EDITS = ("smile", "age", "yaw")
STEPS = (1.5,)
TRUNCATION = 0.7  # as `gradstyle sample` has it
MIXED = 0.5  # share of the pictures whose finer layers are of a second sample: no code of the mapping network's
TRUTH = "truth"  # stands for a method where pictures of the truth are shown


def pairs(request: Request, say: Progress | None = None) -> RunFolder:
    """Measure every method's edits of the generator's pictures against the generator's own, and write the run."""
    return Pairs(request, say).run()


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


class PairsBench(Bench):
    """On pictures of the generator instead of photos."""

    def _open_photos(self) -> Samples:
        asked = self.request
        self.samples = Samples(
            self.bundle.generator(device=self.device),  # which all methods share: none is drawn otherwise
            asked.photos or COUNT,
            asked.batch,
            float(asked.changes.get("truncation", TRUNCATION)),
            float(asked.changes.get("mixed", MIXED)),
            asked.seed,
        )
        return self.samples


class Pairs:
    def __init__(self, request: Request, say: Progress | None = None) -> None:
        steps = tuple(sorted(request.changes.get("steps") or STEPS))
        self.changes = changes_of(Bundle.load(request.bundle), tuple(request.changes.get("edits") or ()), steps)
        self.steps = steps
        self.bench = bench = PairsBench("pairs", request, say)
        bench.methods = (*bench.methods, UNEDITED)
        self._truths: dict[int, dict[str, Seen]] = {}
        self._looking = threading.Lock()

    def run(self) -> RunFolder:
        bench = self.bench
        record = bench.record(
            ["", *(change.condition for change in self.changes)],
            bench.gauge.pair_metrics,
            steps=list(self.steps),
            edited=[change.condition for change in self.changes],
            truncation=bench.request.changes.get("truncation", TRUNCATION),
            mixed=bench.request.changes.get("mixed", MIXED),
        )
        record, values, _ = bench.measure(record, self._work)
        _, summary = bench.summary(record, values)
        record = replace(record, pictures=(*record.pictures, *self._draw()))
        bench.finish(record, summary)
        return bench.folder

    def truths(self, batch: int) -> dict[str, Seen]:
        """By condition, what a batch of pictures truly looks like with that edit: seen once for all methods."""
        with self._looking:
            if batch not in self._truths:
                if len(self._truths) > self.bench.workers:
                    del self._truths[min(self._truths)]
                codes, generator = self.bench.samples.of(batch), self.bench.samples.generator
                with torch.inference_mode():
                    self._truths[batch] = {
                        each.condition: self.bench.gauge.look(generator(each.edit.apply(codes)))
                        for each in self.changes
                    }
            return self._truths[batch]

    def _work(self, method: str, pictures: Tensor, seen: Seen, first: int) -> Outcome:
        gauge = self.bench.gauge
        batch, row = divmod(first, self.bench.request.batch)
        truths = self.truths(batch)
        if len(seen) < len(self.bench.samples.names_of(batch)):  # one picture of a batch that failed as a whole
            truths = {condition: truth[row] for condition, truth in truths.items()}
        if method == UNEDITED:
            answers = dict.fromkeys(("", *truths), seen)
        else:
            editor = self.bench.editors[method]
            inversion = editor.invert(pictures)
            answers = {"": gauge.look(editor.render(inversion))}
            answers |= {each.condition: gauge.look(editor.render(inversion, each.edit)) for each in self.changes}
        out = Outcome()
        for condition, answer in answers.items():
            compared = gauge.compare(answer, truths.get(condition, seen))
            out.values |= {(condition, metric): value for metric, value in compared.items()}
            if method != UNEDITED:  # it is the source
                out.pictures[condition] = answer.images
        return out

    def _draw(self) -> list[Picture]:
        """Pictures of the truth, for the report to show beside the methods'."""
        bench, drawn = self.bench, list[Picture]()
        for number, name in enumerate(bench.photos.names[: bench.request.shown]):
            batch, row = divmod(number, bench.request.batch)
            for condition, truth in self.truths(batch).items():
                file = picture_name(number, TRUTH, condition)
                to_photo(truth.images[row].cpu(), bench.bundle.domain.aspect).save(bench.folder.path / file)
                drawn.append(Picture(name, TRUTH, condition, file))
        return drawn


def changes_of(bundle: Bundle, wanted: tuple[str, ...], steps: tuple[float, ...]) -> list[Change]:
    """The edits that were asked for, else the usual ones that the bundle has, else its first; within their sliders."""
    edits, sliders = bundle.edits, bundle.sliders
    if not edits:
        raise ValueError(f"bundle {bundle.name!r} has no edits; `gradstyle directions` finds some")
    if wanted == ("all",):
        wanted = tuple(sliders or edits)
    if missing := [name for name in wanted if name not in edits]:
        raise ValueError(f"bundle {bundle.name!r} has no edit {missing[0]!r}; it has {', '.join(edits)}")
    names = wanted or tuple(name for name in EDITS if name in edits) or tuple(edits)[:1]
    found = []
    for name in names:
        reach = max(steps)
        low, high = (sliders[name].low, sliders[name].high) if name in sliders else (-reach, reach)
        found += [Change(f"{name}={a:+g}", a * edits[name]) for a in amounts_within(low, high, steps)]
    return found
