"""The pictures of a run for its page: sheets of photos down and methods across, each picture in the page once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..evaluation.store import PICTURES, SOURCE
from ..metrics.values import Metric
from .content import Report
from .templates import data_uri
from .texts import figure, listed

PICTURE_BYTES = 8 << 20  # of all pictures in a page
PICTURE_SIDES = (512, 384, 256, 192, 128)
LOSSY_BYTES, LOSSLESS_BYTES = 0.4, 3.2  # of a pixel in WebP and then in base64, at most as a rule
SHEET_PHOTOS = 24  # in a page's sheets; the others stay in the run's folder


@dataclass(frozen=True)
class Tile:
    photo: int
    method: str
    condition: str
    uri: str  # empty: the source, of which an earlier sheet has the picture
    label: str
    value: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table of pictures: photos down; across the source and methods, or conditions of the only method."""

    condition: str | None  # None: the sheet is of all conditions
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Tile | None]]]
    caption: str


class Sheets:
    """The pictures that fit into a page, and the sheets of them."""

    def __init__(self, report: Report) -> None:
        self.report = report
        files = {
            (p.photo, p.method, p.condition): report.folder / p.file for p in report.record.pictures if _is_own(p.file)
        }
        files = {at: file for at, file in files.items() if file.is_file()}
        methods = list(dict.fromkeys(method for _, method, _ in files if method != SOURCE))
        conditions = list(dict.fromkeys(condition for _, method, condition in files if method != SOURCE))
        self.only_method = methods[0] if len(methods) == 1 and len(conditions) > 1 else None
        self.columns = {at: report.named(at) for at in conditions} if self.only_method else {}
        first = list(dict.fromkeys(photo for photo, _, _ in files))[:SHEET_PHOTOS]
        side, lossless = _size([file for (photo, _, _), file in files.items() if photo in set(first)])
        self.photos: list[str] = []
        self.uris: dict[tuple[str, str, str], str] = {}
        left = PICTURE_BYTES
        for photo in first:
            uris = {at: _webp(file, side, lossless) for at, file in files.items() if at[0] == photo}
            left -= sum(map(len, uris.values()))
            if left < 0:
                break
            self.photos.append(photo)
            self.uris.update(uris)
        self.sheets = list(self._sheets())

    def _sheets(self) -> Iterator[Sheet]:
        sources = {photo: self.uris.get((photo, SOURCE, ""), "") for photo in self.photos}
        sheets: dict[str | None, list[tuple[str, str, str]]] = {
            condition: [(method, method, condition) for method in self.report.methods]
            for condition in self.report.conditions
        }
        if self.only_method:
            sheets = {None: [(name, self.only_method, condition) for condition, name in self.columns.items()]}
        for condition, columns in sheets.items():
            columns = [each for each in columns if any((photo, *each[1:]) in self.uris for photo in self.photos)]
            if not columns:
                continue
            metrics = {at: next(iter(self.report.metrics_of(at)), None) for _, _, at in columns}
            rows = []
            for index, photo in enumerate(self.photos):
                source = Tile(index, SOURCE, "", sources.pop(photo, ""), photo)
                rows.append((photo, [source, *(self._tile(index, *each, metrics[each[2]]) for each in columns)]))
            titles = sorted({metric.title for metric in metrics.values() if metric})
            named = self.report.named(condition) if condition is not None else ""
            caption = ": ".join(filter(None, [named, f"{listed(titles)} below" if titles else ""]))
            yield Sheet(condition, [SOURCE, *(name for name, _, _ in columns)], rows, caption if titles else "")

    def _tile(self, index: int, name: str, method: str, condition: str, metric: Metric | None) -> Tile | None:
        photo = self.photos[index]
        uri = self.uris.get((photo, method, condition))
        if uri is None:
            return None
        value = self.report.values.get((method, condition, metric.name), {}).get(photo) if metric else None
        text = "" if metric is None or value is None else figure(value, self.report.decimals(metric.name))
        return Tile(index, name, "" if self.only_method else condition, uri, f"{photo}, {name}", text)


def _is_own(file: str) -> bool:
    """Says whether a file is one of the run's own pictures; a run may come from anyone and name any file."""
    path = PurePosixPath(file)
    return path.parts[:1] == (PICTURES,) and ".." not in path.parts


def _size(files: Sequence[Path]) -> tuple[int, bool]:
    """Gives the longest side at which all pictures are likely to fit, and whether they fit without loss."""
    from PIL import Image

    sizes = []
    for file in files:
        with Image.open(file) as opened:
            sizes.append(opened.size)
    for side in PICTURE_SIDES:
        shares = [min(1.0, side / max(size)) for size in sizes]
        pixels = sum(width * height * share**2 for (width, height), share in zip(sizes, shares))
        if pixels * LOSSY_BYTES <= PICTURE_BYTES:
            return side, pixels * LOSSLESS_BYTES <= PICTURE_BYTES
    return PICTURE_SIDES[-1], False


def _webp(path: Path, side: int, lossless: bool) -> str:
    """Reads a picture and makes a data URI of it, no side longer than `side`."""
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return data_uri(image, "webp", lossless=lossless, quality=90, method=4)
