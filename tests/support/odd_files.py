"""Files that people have, and files that are no pictures: more than sixty, made anew in a folder.

`odd_files(folder)` gives their paths by name. `REASONS` says of those that cannot be edited what they are told; all
others show a face, so that a bundle of faces can edit them.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Make = Callable[[], bytes]
ORIENTATION = 0x0112

REASONS = {
    "empty.jpg": "it is empty",
    "text.jpg": "not a picture that can be read",
    "page.jpg": "not a picture that can be read",
    "drawing.eps.jpg": "not a picture that can be read",
    "drawing.svg.png": "not a picture that can be read",
    "archive.zip.jpg": "not a picture that can be read",
    "zeros.png": "not a picture that can be read",
    "cut-off.jpg": "damaged, or not a picture",
    "cut-off-early.jpg": "not a picture",
    "cut-off.png": "damaged, or not a picture",
    "cut-off.webp": "damaged, or not a picture|not a picture",
    "cut-off.gif": "damaged, or not a picture",
    "cut-off.tiff": "not a picture",
    "no-data.png": "damaged, or not a picture",
    "wrong-checksum.png": "damaged, or not a picture|not a picture",
    "no-width.png": "not a picture|damaged",
    "one-pixel.png": "no face is found in it",
    "wide.png": "no face is found in it",
    "high.png": "no face is found in it",
    "bomb.png": "a decompression bomb, or larger than any photo: reduce it",
    "bomb-that-opens.png": "it is 9000×9000, more than 50 million pixels",
    "bomb.gif": "a decompression bomb, or larger than any photo: reduce it",
    "bomb.jpg": "a decompression bomb, or larger than any photo: reduce it",
    "floats.tiff": "its pixels are floats of no known range",
    "far-integers.tiff": "its pixels go from -5 to 70000",
    "no-face.jpg": "no face is found in it",
    "profile.png": "no face is found in it",
}


def odd_files(folder: Path) -> dict[str, Path]:
    """Write all of them, and give their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, make in _makers().items():
        paths[name] = folder / name
        paths[name].write_bytes(make())
    return paths


@functools.cache
def portrait() -> Image.Image:
    """A face, 200 px: Eileen Collins, as NASA photographed her."""
    from skimage import data

    return Image.fromarray(data.astronaut()).crop((125, 20, 325, 220))


def _makers() -> dict[str, Make]:
    face = portrait()
    return {**_kinds(face), **_contents(face), **_names(face), **_broken(face), **_bombs()}


def _kinds(face: Image.Image) -> dict[str, Make]:
    gray16 = Image.fromarray(np.asarray(face.convert("L")).astype(np.uint16) * 257)
    clear = face.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(face.size))
    palette = face.quantize(200)
    frames: dict[str, Any] = {"save_all": True, "append_images": [face.rotate(4), face.rotate(8)], "duration": 80}
    return {
        "plain.jpg": lambda: _saved(face, "JPEG", quality=90),
        "progressive.jpg": lambda: _saved(face, "JPEG", progressive=True),
        "unsubsampled.jpg": lambda: _saved(face, "JPEG", subsampling=0),
        "gray.jpg": lambda: _saved(face.convert("L"), "JPEG"),
        "cmyk.jpg": lambda: _saved(face.convert("CMYK"), "JPEG"),
        "plain.png": lambda: _saved(face, "PNG"),
        "gray.png": lambda: _saved(face.convert("L"), "PNG"),
        "gray-16.png": lambda: _saved(gray16, "PNG"),
        "colours-16.png": lambda: _png_16(np.asarray(face)),
        "one-bit.png": lambda: _saved(face.resize((400, 400)).convert("1"), "PNG"),
        "palette.png": lambda: _saved(palette, "PNG"),
        "palette-alpha.png": lambda: _saved(palette, "PNG", transparency=bytes([0, 100, *[255] * 198])),
        "alpha.png": lambda: _saved(clear, "PNG"),
        "gray-alpha.png": lambda: _saved(clear.convert("LA"), "PNG"),
        "moving.png": lambda: _saved(face, "PNG", **frames),
        "plain.webp": lambda: _saved(face, "WEBP"),
        "lossless.webp": lambda: _saved(face, "WEBP", lossless=True),
        "alpha.webp": lambda: _saved(clear, "WEBP"),
        "moving.webp": lambda: _saved(face, "WEBP", **frames),
        "plain.gif": lambda: _saved(face, "GIF"),
        "moving.gif": lambda: _saved(face, "GIF", **frames),
        "plain.tiff": lambda: _saved(face, "TIFF"),
        "lzw.tiff": lambda: _saved(face, "TIFF", compression="tiff_lzw"),
        "cmyk.tiff": lambda: _saved(face.convert("CMYK"), "TIFF"),
        "gray-16.tiff": lambda: _saved(gray16, "TIFF"),
        "pages.tiff": lambda: _saved(face, "TIFF", save_all=True, append_images=[face.rotate(5)]),
        "plain.bmp": lambda: _saved(face, "BMP"),
        "plain.ppm": lambda: _saved(face, "PPM"),
        "plain.tga": lambda: _saved(face, "TGA"),
        "plain.jp2": lambda: _saved(face, "JPEG2000"),
        **({"plain.heic": functools.partial(_heic, face)} if importlib.util.find_spec("pillow_heif") else {}),
        "pair.mpo": lambda: _saved(face, "MPO", save_all=True, append_images=[face.rotate(2)]),
    }


def _contents(face: Image.Image) -> dict[str, Make]:
    landscape = Image.linear_gradient("L").resize((90, 60)).convert("RGB")
    small = Image.new("RGB", (600, 400), "gray")
    small.paste(face.resize((100, 100), Image.Resampling.LANCZOS), (440, 40))
    made = {
        "on-its-side.png": lambda: _saved(face.transpose(Image.Transpose.ROTATE_90), "PNG"),
        "on-its-head.png": lambda: _saved(face.transpose(Image.Transpose.ROTATE_180), "PNG"),
        "two-faces.jpg": lambda: _saved(_row(face, 2, 1), "JPEG"),
        "ten-faces.jpg": lambda: _saved(_row(face, 5, 2), "JPEG"),
        "tiny-face.jpg": lambda: _saved(small, "JPEG"),
        "face-at-the-edge.png": lambda: _saved(face.crop((40, 50, 160, 170)), "PNG"),
        "no-face.jpg": lambda: _saved(landscape, "JPEG"),
        "profile.png": lambda: _saved(_profile(), "PNG"),
        "one-pixel.png": lambda: _saved(Image.new("RGB", (1, 1), "red"), "PNG"),
        "wide.png": lambda: _saved(Image.new("RGB", (30_000, 10), "blue"), "PNG"),
        "high.png": lambda: _saved(Image.new("RGB", (10, 30_000), "blue"), "PNG"),
        "floats.tiff": lambda: _saved(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"),
        "far-integers.tiff": lambda: _saved(Image.fromarray(np.array([[-5, 70000]], np.int32)), "TIFF"),
        "much-after.jpg": lambda: _saved(face, "JPEG") + b"\0garbage" * 1000,
    }
    for orientation, turn in ((3, 180), (6, 90), (8, 270)):
        stored = face.rotate(turn, expand=True)
        made[f"orientation-{orientation}.jpg"] = functools.partial(_saved, stored, "JPEG", exif=_oriented(orientation))
    return made


def _names(face: Image.Image) -> dict[str, Make]:
    jpeg, png = functools.partial(_saved, face, "JPEG"), functools.partial(_saved, face, "PNG")
    names = [
        "LOUD.JPG",
        "größe 画像.jpg",
        "with 'quotes' and [brackets].jpg",
        "-starts-with-a-dash.jpg",
        "two.dots.jpg",
    ]
    return {
        **dict.fromkeys(names, jpeg),
        "long-" + "g" * 180 + ".jpg": jpeg,
        "is-png.jpg": png,
        "is-jpeg.png": jpeg,
        "is-jpeg.heic": jpeg,
    }


def _broken(face: Image.Image) -> dict[str, Make]:
    jpeg, png, webp = _saved(face, "JPEG"), _saved(face, "PNG"), _saved(face, "WEBP")
    idat = png.index(b"IDAT") + 40
    return {
        "broken-exif.jpg": lambda: _saved(face, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xfe" * 40),
        "exif-of-nonsense.png": lambda: _saved(
            face, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(200))
        ),
        "odd-orientation.jpg": lambda: _saved(face, "JPEG", exif=_oriented(77)),
        "large-exif.jpg": lambda: _saved(face, "JPEG", exif=_commented("x" * 60_000)),
        "broken-profile.jpg": lambda: _saved(face, "JPEG", icc_profile=b"no profile at all" * 9),
        "broken-xmp.jpg": lambda: _saved(face, "JPEG", xmp=b"<x:xmpmeta><rdf:RDF>&bomb;"),
        "empty.jpg": lambda: b"",
        "text.jpg": lambda: b"hello, I am a text\n" * 20,
        "page.jpg": lambda: b"<!doctype html><title>404</title>",
        "drawing.eps.jpg": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nquit\n",
        "drawing.svg.png": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "archive.zip.jpg": lambda: b"PK\x05\x06" + bytes(18),
        "zeros.png": lambda: bytes(5000),
        "cut-off.jpg": lambda: jpeg[: len(jpeg) // 2],
        "cut-off-early.jpg": lambda: jpeg[:100],
        "cut-off.png": lambda: png[: len(png) // 2],
        "cut-off.webp": lambda: webp[: len(webp) // 2],
        "cut-off.gif": lambda: _saved(face, "GIF")[:3000],
        "cut-off.tiff": lambda: _saved(face, "TIFF", compression="tiff_lzw")[:-9000],
        "no-data.png": lambda: _png(64, 64, b"no zlib"),
        "wrong-checksum.png": lambda: png[:idat] + bytes([png[idat] ^ 255]) + png[idat + 1 :],
        "no-width.png": lambda: _png(0, 5, b""),
    }


def _bombs() -> dict[str, Make]:
    jpeg = _saved(Image.new("RGB", (64, 64)), "JPEG")
    size = jpeg.index(b"\xff\xc0") + 5
    return {
        "bomb.png": lambda: _png(100_000, 100_000, zlib.compress(bytes(100))),
        "bomb-that-opens.png": lambda: _png(9000, 9000, zlib.compress(bytes(9001 * 9000))),
        "bomb.gif": lambda: (
            b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(3) + b",\0\0\0\0\xff\xff\xff\xff\0\2\0;"
        ),
        "bomb.jpg": lambda: jpeg[:size] + struct.pack(">HH", 65500, 65500) + jpeg[size + 4 :],
    }


# ---- how they are made


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def _heic(picture: Image.Image) -> bytes:
    import pillow_heif

    out = io.BytesIO()
    pillow_heif.from_pillow(picture).save(out, quality=90)
    return out.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width: int, height: int, data: bytes, depth: int = 8, colours: int = 0) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _png_16(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """16 bits for each colour, which Pillow does not write."""
    rows = (pixels.astype(">u2") * 257).reshape(len(pixels), -1)
    data = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    return _png(pixels.shape[1], pixels.shape[0], zlib.compress(data), 16, 2)


def _oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def _commented(text: str) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = text
    return exif


def _row(face: Image.Image, across: int, down: int) -> Image.Image:
    """Faces beside each other, one a little larger than the others."""
    width, height = face.size
    sheet = Image.new("RGB", (width * across, height * down), "white")
    for i in range(across * down):
        one = face if i else face.resize((220, 220)).crop((10, 10, 210, 210))
        sheet.paste(one, (i % across * width, i // across * height))
    return sheet


def _profile() -> Image.Image:
    """A head from the side, drawn as in a book for children."""
    picture = Image.new("RGB", (120, 120), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((30, 20, 90, 100), fill="peachpuff", outline="black")
    draw.polygon([(88, 50), (104, 66), (88, 70)], fill="peachpuff", outline="black")
    draw.ellipse((74, 46, 80, 50), fill="black")
    draw.line((78, 82, 90, 80), fill="darkred", width=2)
    return picture
