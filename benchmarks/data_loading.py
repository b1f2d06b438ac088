"""Pictures a second from a data set: decoded each time, while the cache is built, and from the cache.

python -m benchmarks.data_loading DATA --resolution 64
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

from gradstyle.training.data import Batches, Images


def pictures_per_second(batches: Batches, seconds: float) -> float:
    next(batches)  # starts the thread
    start, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < seconds:
        count += len(next(batches))
    batches.close()
    return count / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="a folder, a zip, a tar or a folder of tars")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--crop", default="center", choices=["center", "pad", "none"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()

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


if __name__ == "__main__":
    main()
