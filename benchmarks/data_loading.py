"""Pictures a second from a data set: decoded each time, while the cache is built, from the cache, and in training.

python -m benchmarks.data_loading DATA --recipe faces-64

Training is the recipe's smallest network, the judge, whose pictures come from the cache as all trainings' do: the
share of its time in which it waits for them is what a faster way of loading could save.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import torch

from gradstyle.rng import Draws
from gradstyle.training import recipe as recipes
from gradstyle.training.batches import Batches
from gradstyle.training.engine import engine_for
from gradstyle.training.images import Images
from gradstyle.training.judge import JudgeRecipe, JudgeTraining
from gradstyle.training.trainable import Batch, Setup


def pictures_per_second(batches: Batches, seconds: float) -> float:
    next(batches)  # starts the thread
    start, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < seconds:
        count += len(next(batches))
    batches.close()
    return count / spent


def training_speed(recipe_name: str, batches: Batches, seconds: float) -> tuple[float, float]:
    """Pictures a second of steps on pictures that are loaded meanwhile, and the share of the time spent waiting."""
    recipe = recipes.load(JudgeRecipe, "judge", recipe_name, ["attributes=['a', 'b']"])
    training = JudgeTraining(Setup(recipe, engine_for(recipe.loop), Draws()))
    training.labels = torch.zeros(len(batches.images), 2)
    training.log_odds = torch.zeros(2)
    training.step(Batch(next(batches), batches.indices, 0, 0))
    start, waited, count = time.perf_counter(), 0.0, 0
    while (spent := time.perf_counter() - start) < seconds:
        before = time.perf_counter()
        photos = next(batches)
        waited += time.perf_counter() - before
        training.step(Batch(photos, batches.indices, 1, count))
        count += len(photos)
    batches.close()
    return count / spent, waited / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="a folder, a zip, a tar or a folder of tars")
    parser.add_argument("--recipe", default="faces-64")
    parser.add_argument("--resolution", type=int, help="the recipe's, if not given")
    parser.add_argument("--crop", default="center", choices=["center", "pad", "none"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    args.resolution = args.resolution or recipes.load(JudgeRecipe, "judge", args.recipe).data.resolution

    uncached = Images.open(args.data, args.resolution, crop=args.crop, cache=None, workers=args.workers)
    print(f"{args.data}: {len(uncached)} pictures at {args.resolution} px, {args.workers} threads")
    rate = pictures_per_second(Batches(uncached, args.batch), args.seconds)
    print(f"decoded each time   {rate:10.0f} pictures/s")
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        images = Images.open(args.data, args.resolution, crop=args.crop, cache=cache, workers=args.workers)
        print(f"building the cache  {len(images) / (time.perf_counter() - start):10.0f} pictures/s")
        start = time.perf_counter()
        images = Images.open(args.data, args.resolution, crop=args.crop, cache=cache)
        print(f"opening it again    {time.perf_counter() - start:10.2f} s")
        rate = pictures_per_second(Batches(images, args.batch, mirror=True), args.seconds)
        print(f"from the cache      {rate:10.0f} pictures/s")
        speed, waiting = training_speed(args.recipe, Batches(images, args.batch, mirror=True), 2 * args.seconds)
        print(f"training a judge    {speed:10.0f} pictures/s, {waiting:.1%} of the time spent waiting for pictures")


if __name__ == "__main__":
    main()
