"""Whatever a photo file holds, what is read is what a person sees in it, or one line says why not."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from gradstyle.photos import Photo, contact_sheet, open_photo, save_image, to_image, to_photo
from gradstyle.photos.photo import check_picture_name
from tests.support.project import ROOT


def scene(width: int = 60, height: int = 40) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture with no symmetry: each corner another colour."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 7 * 20], axis=-1).astype(np.uint8)


def written(path: Path, picture: Image.Image, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def difference(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).mean())


# ---- files of all kinds


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "ppm", "tga", "webp", "gif", "jpg"])
def test_usual_kinds(kind: str, tmp_path: Path) -> None:
    options = {"webp": {"lossless": True}, "jpg": {"quality": 95, "subsampling": 0}}.get(kind, {})
    path = written(tmp_path / f"photo.{kind}", Image.fromarray(scene()), **options)
    photo = open_photo(path)
    assert photo.size == (60, 40) and photo.pixels.dtype == np.uint8
    assert difference(photo.pixels, scene()) <= {"jpg": 12, "gif": 12}.get(kind, 0)


def test_a_kind_is_told_by_content(tmp_path: Path) -> None:
    written(tmp_path / "photo.png", Image.fromarray(scene())).rename(tmp_path / "photo.jpg")
    assert np.array_equal(open_photo(tmp_path / "photo.jpg").pixels, scene())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_upright(orientation: int, tmp_path: Path) -> None:
    seen = Image.fromarray(scene())
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = seen.transpose(turned[orientation]) if orientation > 1 else seen
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = open_photo(written(tmp_path / "photo.png", stored, exif=exif))
    assert np.array_equal(photo.pixels, scene())


def test_cmyk_and_gray_and_one_bit(tmp_path: Path) -> None:
    picture = Image.fromarray(scene())
    for mode, kind in (("CMYK", "tiff"), ("L", "png"), ("1", "png"), ("P", "png")):
        converted = picture.convert(mode)
        photo = open_photo(written(tmp_path / f"{mode}.{kind}", converted))
        assert difference(photo.pixels, np.asarray(converted.convert("RGB"))) == 0, mode


def test_transparency_is_white(tmp_path: Path) -> None:
    rgba = Image.fromarray(scene()).convert("RGBA")
    alpha = Image.new("L", rgba.size, 255)
    alpha.paste(0, (0, 0, 30, 40))
    alpha.putpixel((45, 20), 128)
    rgba.putalpha(alpha)
    seen = open_photo(written(tmp_path / "rgba.png", rgba)).pixels
    assert (seen[:, :30] == 255).all()
    assert np.array_equal(seen[30:, 31:], scene()[30:, 31:])
    assert np.abs(seen[20, 45].astype(int) - (scene()[20, 45].astype(int) + 255) // 2).max() <= 1
    assert np.array_equal(open_photo(written(tmp_path / "la.png", rgba.convert("LA"))).pixels[0, 0], [255] * 3)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 10, 10])
    palette.putpixel((0, 0), 0)
    seen = open_photo(written(tmp_path / "palette.png", palette, transparency=0)).pixels
    assert seen[0, 0].tolist() == [255, 255, 255] and seen[1, 1].tolist() == [200, 10, 10]


def test_sixteen_bits(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    gray = open_photo(written(tmp_path / "gray.png", Image.fromarray(values))).pixels
    assert np.array_equal(gray[..., 0], (values / 257).round().astype(np.uint8))
    assert np.array_equal(gray[..., 0], gray[..., 2])
    open_photo(written(tmp_path / "whole.tiff", Image.fromarray(values.astype(np.int32))))
    with pytest.raises(ValueError, match=r"far\.tiff: its pixels go from -5 to 70000, not from 0 to 65535"):
        open_photo(written(tmp_path / "far.tiff", Image.fromarray(np.array([[-5, 70000]], np.int32))))
    with pytest.raises(ValueError, match=r"float\.tiff: its pixels are floats of no known range"):
        open_photo(written(tmp_path / "float.tiff", Image.fromarray(np.zeros((4, 4), np.float32))))


def test_the_first_of_many_pictures(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    photo = open_photo(
        written(tmp_path / "moving.webp", frames[0], save_all=True, append_images=frames[1:], lossless=True)
    )
    assert photo.pixels[0, 0].tolist() == [255, 0, 0]


# ---- files that are none


def png(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    out = io.BytesIO()
    Image.fromarray(scene(200, 200)).save(out, "JPEG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "not a picture that can be read"),
        (b"hello, I am a text\n" * 20, "not a picture that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nquit\n", "not a picture that can be read"),
        (jpeg()[: len(jpeg()) // 2], "damaged, or not a picture"),
        (jpeg()[:100], "damaged, or not a picture|not a picture"),
        (png(64, 64, zlib.compress(bytes(100))), "damaged, or not a picture"),
        (png(64, 64, b"no zlib"), "damaged, or not a picture"),
        (png(9000, 9000), "it is 9000×9000, more than 50 million pixels: reduce it"),
        (png(100_000, 100_000), "exceeds limit|decompression bomb"),
        (png(0, 5), "not a picture|damaged"),
    ],
)
def test_what_is_no_photo_is_one_line(content: bytes, cause: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=cause) as caught:
        open_photo(tmp_path / "photo.jpg")
    assert str(caught.value).startswith(f"{tmp_path / 'photo.jpg'}: ") and "\n" not in str(caught.value)


def test_places_without_a_photo(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.jpg: there is no such file"):
        open_photo(tmp_path / "none.jpg")
    with pytest.raises(ValueError, match="it is no file"):
        open_photo(tmp_path)
    (tmp_path / "huge.jpg").touch()
    os.truncate(tmp_path / "huge.jpg", 1 << 40)
    with pytest.raises(ValueError, match="larger than 256 MB, which no photo is"):
        open_photo(tmp_path / "huge.jpg")


def test_a_large_jpeg_is_read_at_half_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradstyle.photos import framing, photo

    monkeypatch.setattr(framing, "MOST_PIXELS", 20_000)
    monkeypatch.setattr(photo, "MOST_FROM_CAMERAS", 20_000)
    path = written(tmp_path / "large.jpg", Image.fromarray(scene(200, 160)))
    halved = open_photo(path)
    assert halved.size == (100, 80) and halved.origin and "read at half its size" in halved.origin.notes[0]
    with pytest.raises(ValueError, match="it is 200×160"):
        open_photo(written(tmp_path / "large.png", Image.fromarray(scene(200, 160))))


@pytest.mark.slow
def test_a_bomb_of_the_largest_size_stays_under_a_gibibyte(tmp_path: Path) -> None:
    """50 million pixels of nothing, with a palette's transparency, in 50 kB."""
    big = Image.new("P", (7000, 7000), 0)
    big.putpalette([9, 9, 9])
    big.save(tmp_path / "bomb.png", transparency=0)
    big.convert("L").save(tmp_path / "bomb.gif")
    Image.fromarray(np.zeros((7000, 7000), np.uint16)).save(tmp_path / "deep.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    program = (
        "import sys; from tests.support.peak_memory import peak; from gradstyle.photos import open_photo, to_image\n"
        "for path in sys.argv[1:]: to_image(open_photo(path))\n"
        "print(peak())"
    )
    paths = [str(tmp_path / name) for name in ("bomb.png", "bomb.gif", "deep.png")]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout) < 1024


def test_pillow_is_not_told_to_pass_over_damage() -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


# ---- to the networks and back


def test_a_square_photo_comes_back_as_it_was() -> None:
    photo = Photo(scene(300, 300))
    image = to_image(photo, side=256)
    assert list(image.shape) == [1, 3, 300, 300]  # networks reduce it themselves
    assert image.dtype == torch.float32 and image.min() >= -1 and image.max() <= 1
    assert np.array_equal(to_photo(image[0]).pixels, photo.pixels)


def test_black_is_minus_one_and_white_is_one() -> None:
    photo = Photo(
        np.stack([np.zeros((64, 64), np.uint8), np.full((64, 64), 255, np.uint8), np.full((64, 64), 51, np.uint8)], -1)
    )
    image = to_image(photo, side=64)
    assert image[0, 0].unique().tolist() == [-1] and image[0, 1].unique().tolist() == [1]
    torch.testing.assert_close(image[0, 2].unique(), torch.tensor([-0.6]))


def test_what_is_out_of_range_is_clamped() -> None:
    assert to_photo(torch.full((3, 2, 2), 1.5)).pixels.max() == to_photo(torch.ones(3, 2, 2)).pixels.max() == 255
    assert to_photo(torch.full((3, 2, 2), -7.0)).pixels.max() == 0


@pytest.mark.parametrize(("width", "height"), [(512, 384), (400, 300), (1000, 300), (300, 1000)])
def test_cars_are_padded_to_the_square_and_cropped_back(width: int, height: int) -> None:
    photo = Photo(scene(width, height) // 2 + 100)
    image = to_image(photo, (4, 3), side=512)
    side = image.shape[-1]
    bar = (side - round(side * 3 / 4)) // 2
    assert side >= 512 and (image[:, :, :bar] == -1).all() and (image[:, :, -bar:] == -1).all()
    assert image[:, :, bar + 2 : -bar - 2].min() > -0.4  # the photo fills the rest
    again = to_photo(image[0], (4, 3))
    assert again.size == (side, round(side * 3 / 4))
    if (width, height) == (512, 384):
        assert np.array_equal(again.pixels, photo.pixels)


def test_photos_are_cut_in_the_middle_to_the_aspect() -> None:
    wide = np.zeros((64, 192, 3), np.uint8)
    wide[:, 64:128] = 200
    image = to_image(Photo(wide), side=64)
    assert list(image.shape[2:]) == [64, 64]
    assert (image[:, :, :, 4:-4] > 0.5).all()


@pytest.mark.parametrize(("size", "side"), [((10, 10), 256), ((100, 4000), 256), ((3000, 3000), 1024), ((1, 1), 256)])
def test_squares_are_at_least_what_the_network_takes_and_at_most_four_times(size: tuple[int, int], side: int) -> None:
    assert to_image(Photo(scene(*size)), side=256).shape[-1] == side


def test_wrong_tensors_are_named() -> None:
    for shape in ((1, 3, 4, 4), (1, 4, 4), (4, 4)):
        with pytest.raises(ValueError, match=r"a picture is \[3, side, side\], got \["):
            to_photo(torch.zeros(shape))
    with pytest.raises(ValueError, match="bars are cut off squares, got 4×5"):
        to_photo(torch.zeros(3, 5, 4))


# ---- files again


def test_pictures_are_written_as_they_are(tmp_path: Path) -> None:
    photo = Photo(scene())
    photo.save(tmp_path / "new" / "folder" / "a.png")
    assert np.array_equal(open_photo(tmp_path / "new" / "folder" / "a.png").pixels, scene())
    images = torch.stack([torch.full((3, 8, 8), -1.0), torch.full((3, 8, 8), 1.0)])
    for one in (images[0], images[:1]):
        save_image(one, tmp_path / "one.png")
        assert (open_photo(tmp_path / "one.png").pixels == 0).all() and open_photo(tmp_path / "one.png").size == (8, 8)
    save_image(images, tmp_path / "two.png")
    assert open_photo(tmp_path / "two.png").size == (2 * 8 + 3 * 2, 8 + 2 * 2)
    photo.save(tmp_path / "a.JPG")
    assert difference(open_photo(tmp_path / "a.JPG").pixels, scene()) < 25


@pytest.mark.parametrize("name", ["a.foo", "a", "a.eps2", "a.pt"])
def test_a_name_that_is_no_pictures(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"end the name in \.png, \.jpg or \.webp"):
        check_picture_name(tmp_path / name)
    with pytest.raises(ValueError, match="no kind of picture"):
        Photo(scene()).save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Photo(scene()).save(path)
    before = path.read_bytes()

    def fails(self: Image.Image, target: Path, **_: Any) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fails)
    with pytest.raises(OSError, match="No space"):
        Photo(scene(8, 8)).save(path)
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["a.png"]


def test_a_sheet_holds_every_picture_where_it_belongs() -> None:
    colours = torch.linspace(-1, 1, 5)
    images = [colour * torch.ones(3, 4, 4) for colour in colours]
    sheet = np.asarray(contact_sheet([images[:3], images[3:]], ["a", "b", "c"], scale=3, gap=2))
    assert sheet.shape == (14 + 2 + 2 * (12 + 2), 2 + 3 * (12 + 2), 3)
    levels = [to_photo(image).pixels[0, 0, 0] for image in images]
    for i, level in enumerate(levels):
        top, left = 16 + 14 * (i // 3), 2 + 14 * (i % 3)
        assert (sheet[top : top + 12, left : left + 12] == level).all()
    assert (sheet[:14] < 100).any()  # captions
    assert (sheet[30:, 30:] == 255).all()  # no sixth picture
    with pytest.raises(ValueError, match="needs a picture at least"):
        contact_sheet([[]])
