"""Training a judge: a small network that tells attributes apart, from a table of zeros and ones."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..images import to_float
from ..losses.judge import Judge, JudgeConfig, JudgeReport, Role, judge_report, with_report
from ..rng import seed_of
from .gradient_steps import descend, learning_mode, new_share, place, share_statistics
from .images import Images
from .recipe import Recipe
from .table import Split
from .trainable import Batch, Setup, Trainable


@dataclass(frozen=True)
class JudgeRecipe(Recipe):
    attributes: tuple[str, ...] = ()  # columns of the table; none: all that hold zeros and ones alone
    validation: str | None = "val"  # the value of data.split's column that marks pictures to be judged on
    widths: tuple[int, ...] = (24, 48, 96, 160)
    embedding: int = 128
    rate: float = 2e-3  # AdamW, with
    weight_decay: float = 1e-2
    shift: float = 1 / 16  # how far a picture is moved at most, as a share of its side
    light: float = 0.2  # how much brighter, darker, richer or flatter it becomes at most
    ema_images: float = 20_000.0  # half-life of the average that is kept
    ema_rampup: float = 0.05  # the half-life is at most this share of the pictures seen
    freeze_statistics: bool = False


class JudgeTraining(Trainable[JudgeRecipe]):
    kind: ClassVar[str] = "judge"
    result: ClassVar[str] = "judge.safetensors"
    role: ClassVar[Role] = "judge"
    Recipe: ClassVar[type[Recipe]] = JudgeRecipe

    def __init__(self, setup: Setup[JudgeRecipe]) -> None:
        super().__init__(setup)
        engine, self.images = self.engine, setup.images
        self.labels = self.log_odds = torch.empty(0)
        if self.images is not None:
            if "labels" not in self.inputs:
                raise ValueError(f"a {self.kind} learns from a table of labels: give --labels FILE.csv")
            labels = self.images.labels(self.inputs["labels"], self.recipe.attributes or None)
            self.recipe = dataclasses.replace(self.recipe, attributes=labels.names)
            self.labels = labels.values.to(engine.device)
            share = self.labels.mean(dim=0).clamp(1e-4, 1 - 1e-4)
            self.log_odds = torch.log(share / (1 - share))  # [attributes]
        self.validation = self.held_out()  # before the training: what is wrong with it is not to be learned after it
        recipe = self.recipe
        torch.manual_seed(seed_of("weights", recipe.loop.seed))
        config = JudgeConfig(recipe.attributes, recipe.data.resolution, recipe.widths, recipe.embedding)
        self.judge = Judge(config, role=self.role)
        place(self.judge, engine.device)
        self.average = copy.deepcopy(self.judge).requires_grad_(False).eval()
        self.modules = {"judge": self.judge, "average": self.average}
        self.optimisers = {
            "judge": torch.optim.AdamW(self.judge.parameters(), recipe.rate, weight_decay=recipe.weight_decay)
        }
        self.synced: nn.Module
        self.synced, self.stepper = engine.prepare(self.judge, self.optimisers["judge"])

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        learning_mode(self.judge, self.recipe.freeze_statistics)
        labels = self.labels[batch.indices.to(self.labels.device)]
        parts = self.recipe.loop.parts
        pairs = zip(batch.photos.chunk(parts), labels.chunk(parts))
        terms = descend(self.engine, self.synced, self.stepper, [partial(self.loss, *pair) for pair in pairs])
        share_statistics(self.engine, self.judge)
        self.update_average(batch.images + self.recipe.loop.batch)
        return terms

    def loss(self, photos: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of logits to which the odds in the data are added: the network learns what a picture adds
        to them, so that rare attributes are not simply denied."""
        logits: Tensor = self.synced(self.changed(photos))
        loss = F.binary_cross_entropy_with_logits(logits + self.log_odds, labels)
        right = ((logits > 0) == (labels > 0.5)).float().mean()
        return loss, {"cross_entropy": loss, "right": right}

    def changed(self, photos: Tensor) -> Tensor:
        """Moved a little and in another light."""
        recipe, count = self.recipe, len(photos)
        numbers = (2 * self.draws.uniform(count, 4) - 1).to(photos)  # [N, 4] in −1 … 1
        places = torch.eye(2, 3, device=photos.device).repeat(count, 1, 1)
        places[:, :, 2] = numbers[:, :2] * (2 * recipe.shift)
        grid = F.affine_grid(places, list(photos.shape), align_corners=False)
        moved = F.grid_sample(photos, grid, padding_mode="reflection", align_corners=False)
        contrast, brightness = (numbers[:, 2:] * recipe.light)[:, :, None, None, None].unbind(dim=1)
        return moved * (1 + contrast) + brightness

    @torch.no_grad()
    def update_average(self, images: int) -> None:
        share = new_share(self.recipe.loop.batch, images, self.recipe.ema_images, self.recipe.ema_rampup)
        for own, new in zip(self.average.state_dict().values(), self.judge.state_dict().values()):
            if own.is_floating_point():
                own.lerp_(new, share)

    # ---- what comes of it

    @torch.no_grad()
    def report(self) -> JudgeReport | None:
        """On the validation pictures, unchanged; None where there are none."""
        held_out = self.validation
        if held_out is None:
            return None
        labels = held_out.labels(self.inputs["labels"], self.recipe.attributes).values
        logits = []
        for start in range(0, len(held_out), 64):
            rows = range(start, min(start + 64, len(held_out)))
            photos = to_float(held_out.gather(rows)).to(self.engine.device)
            logits.append(self.average(photos).cpu())
        return judge_report(self.recipe.attributes, torch.cat(logits), labels)

    def held_out(self) -> Images | None:
        data, chosen = self.recipe.data, self.recipe.validation
        if self.images is None or chosen is None or data.split is None or not data.split[1]:
            return None
        split = Split(data.split[0], data.split[1], chosen)
        width, height = data.aspect
        try:
            return Images.open(
                self.images.source.path, data.resolution, crop=data.crop, aspect=width / height, split=split, cache=None
            )
        except ValueError as error:
            raise ValueError(
                f"{error}: say which pictures the network is judged on by --set validation=VALUE, or none by "
                "--set validation=none"
            ) from error

    @torch.no_grad()
    def preview(self, photos: Tensor) -> tuple[Sequence[Sequence[Tensor]], Sequence[str]]:
        """Each photo beside those of the first few that the network finds most like it."""
        embedded = F.normalize(self.average.embed(photos).float(), dim=1)
        nearest = (embedded @ embedded.T).argsort(dim=1, descending=True)[:, :4]
        names = ("photo", "nearest", "second", "third")[: nearest.shape[1]]
        return [[photos[int(index)] for index in row] for row in nearest], names

    def export(self, name: str) -> Judge:
        report = self.report()
        return self.average if report is None else with_report(self.average, report)

    def state(self) -> dict[str, Any]:
        return {"attributes": list(self.recipe.attributes)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if list(self.recipe.attributes) != list(state["attributes"]):
            raise ValueError(
                f"the labels have other columns than this run's: {', '.join(self.recipe.attributes)}, "
                f"it was {', '.join(state['attributes'])}"
            )


class TeacherTraining(JudgeTraining):
    """The same under another name and recipe: what it has learned goes into losses, so that it must not judge."""

    kind: ClassVar[str] = "teacher"
    result: ClassVar[str] = "teacher.safetensors"
    role: ClassVar[Role] = "teacher"
