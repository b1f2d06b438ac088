"""A photo's file keeps what it said, says that it was edited, and with `strip` nothing else."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageCms

import gradstyle
from gradstyle.photos import Photo, open_photo
from gradstyle.photos.metadata import SOURCE_TYPE
from tests.support.odd_files import portrait

EDITED = "smile=+2 (gradstyle, faces)"
SOFTWARE = f"GradStyle {gradstyle.__version__}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
CAMERA_XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="17.1" xmp:Rating="5" '
    b'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    b"<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    b"</Iptc4xmpExt:DigitalSourceType></rdf:Description></rdf:RDF></x:xmpmeta>"
    b'<?xpacket end="w"?>'
)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
KINDS = ["jpg", "png", "webp", "tiff", "avif"]


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x010F], tags[0x0110], tags[0x0131], tags[0x010E] = "Maker", "Model 3", "17.1", "On the beach"
    tags.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    tags.get_ifd(0x8825)[1] = "N"
    return tags


def written(path: Path, picture: Image.Image | None = None, **options: Any) -> Path:
    if path.suffix == ".tiff" and "xmp" in options:
        options["exif"][700] = options.pop("xmp")
    if "exif" in options and not isinstance(options["exif"], bytes):
        options["exif"] = options["exif"].tobytes()  # else Pillow's TIFFs go without the inner directories
    (picture or portrait()).save(path, **options)
    return path


def edited(path: Path) -> Photo:
    """A photo with one pixel changed."""
    photo = open_photo(path)
    pixels = photo.pixels.copy()
    pixels[100, 100] = (0, 255, 0)
    return replace(photo, pixels=pixels, edited=EDITED)


def said(path: Path) -> dict[str, str]:
    """The properties of a file's XMP."""
    with Image.open(path) as picture:
        packet = picture.info["xmp"]
    found: dict[str, str] = {}
    for description in ElementTree.fromstring(packet).iter(f"{RDF}Description"):
        pairs = [*description.attrib.items(), *((child.tag, child.text or "") for child in description)]
        for key, value in pairs:
            name = key.rpartition("}")[2]
            assert name == "about" or name not in found, f"{name} is said twice"
            found[name] = value
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_file_said_is_kept(kind: str, tmp_path: Path) -> None:
    source = written(tmp_path / f"a.{kind}", exif=exif(), icc_profile=PROFILE, xmp=CAMERA_XMP, dpi=(300, 300))
    if kind == "png":  # which Pillow writes as a text of its own
        from PIL.PngImagePlugin import PngInfo

        texts = PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", CAMERA_XMP.decode())
        texts.add_text("Title", "A day")
        written(source, exif=exif(), icc_profile=PROFILE, pnginfo=texts, dpi=(300, 300))
    target = tmp_path / f"b.{kind}"
    edited(source).save(target)
    with Image.open(target) as picture:
        tags = picture.getexif()
        assert picture.info["icc_profile"] == PROFILE
        assert (tags[0x010F], tags[0x0110], tags[0x010E]) == ("Maker", "Model 3", "On the beach")
        assert tags.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09" and tags.get_ifd(0x8825)[1] == "N"
        assert tags[0x0131] == SOFTWARE
        assert tags.get_ifd(0x8769)[0x9286] == b"ASCII\0\0\0" + f"edited with {SOFTWARE}: {EDITED}".encode()
        if kind in ("jpg", "png", "tiff"):
            assert tuple(round(float(each)) for each in picture.info["dpi"]) == (300, 300)
        assert kind != "png" or picture.text["Title"] == "A day"  # type: ignore[attr-defined]
    properties = said(target)
    assert properties["Rating"] == "5" and properties["CreatorTool"] == SOFTWARE
    assert properties["DigitalSourceType"] == SOURCE_TYPE and properties["edits"] == EDITED


@pytest.mark.parametrize("kind", KINDS)
def test_strip_leaves_the_word_on_the_edit_alone(kind: str, tmp_path: Path) -> None:
    source = written(tmp_path / f"a.{kind}", exif=exif(), xmp=CAMERA_XMP)
    target = tmp_path / f"b.{kind}"
    edited(source).save(target, strip=True)
    with Image.open(target) as picture:
        tags = picture.getexif()
        assert not {0x010F, 0x0110, 0x010E, 0x8825} & set(tags) and tags[0x0131] == SOFTWARE
        assert "icc_profile" not in picture.info
    assert said(target).keys() == {"about", "CreatorTool", "DigitalSourceType", "edits"}
    assert b"beach" not in target.read_bytes() and b"Model 3" not in target.read_bytes()


def test_a_profile_that_is_stripped_is_put_into_the_colours(tmp_path: Path) -> None:
    """A profile with red and green changed for each other, as its own colours show."""
    raw = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = raw.index(b"rXYZ"), raw.index(b"gXYZ")
    raw[red : red + 4], raw[green : green + 4] = b"gXYZ", b"rXYZ"
    source = written(tmp_path / "a.png", Image.new("RGB", (8, 8), (200, 10, 10)), icc_profile=bytes(raw))
    photo = open_photo(source)
    photo.save(tmp_path / "kept.png")
    photo.save(tmp_path / "stripped.png", strip=True)
    kept, stripped = (open_photo(tmp_path / name).pixels[0, 0] for name in ("kept.png", "stripped.png"))
    assert kept.tolist() == [200, 10, 10]
    assert stripped[1] > 150 and stripped[0] < 60  # green, as it was seen


def test_an_edit_of_an_edit_says_both(tmp_path: Path) -> None:
    edited(written(tmp_path / "a.jpg", xmp=CAMERA_XMP)).save(tmp_path / "b.jpg")
    replace(edited(tmp_path / "b.jpg"), edited="age=-1 & <more> (e4e, faces)").save(tmp_path / "c.jpg")
    properties = said(tmp_path / "c.jpg")  # each property once
    assert properties["edits"] == f"{EDITED}; age=-1 & <more> (e4e, faces)" and properties["Rating"] == "5"
    origin = open_photo(tmp_path / "c.jpg").origin
    assert origin is not None and origin.edited == properties["edits"]
    open_photo(tmp_path / "c.jpg").save(tmp_path / "d.jpg")
    assert said(tmp_path / "d.jpg")["edits"] == properties["edits"]


def test_a_comment_of_ones_own_is_not_overwritten(tmp_path: Path) -> None:
    tags = exif()
    tags.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0my own words"
    edited(written(tmp_path / "a.jpg", exif=tags)).save(tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as picture:
        assert picture.getexif().get_ifd(0x8769)[0x9286] == b"ASCII\0\0\0my own words"


@pytest.mark.parametrize(
    "packet",
    [
        b"no xml at all",
        b"<x><rdf:RDF></rdf:RDF>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x xmlns:rdf="r"><rdf:RDF>&a;</rdf:RDF></x>',
        b"\xff\xfe\0\0",
        CAMERA_XMP.replace(b"17.1", b"x" * 64_400),
    ],
    ids=["text", "broken", "bomb", "bytes", "large"],
)
def test_a_packet_that_cannot_be_kept_costs_nothing_else(packet: bytes, tmp_path: Path) -> None:
    edited(written(tmp_path / "a.jpg", exif=exif(), xmp=packet)).save(tmp_path / "b.jpg")
    assert said(tmp_path / "b.jpg")["edits"] == EDITED
    with Image.open(tmp_path / "b.jpg") as picture:
        assert picture.getexif()[0x0110] == "Model 3"


def test_a_jpeg_is_written_as_finely_as_it_was(tmp_path: Path) -> None:
    for quality, subsampling in ((60, 2), (96, 0)):
        source = written(tmp_path / "a.jpg", quality=quality, subsampling=subsampling, comment=b"hello")
        edited(source).save(tmp_path / "b.jpg")
        with Image.open(source) as old, Image.open(tmp_path / "b.jpg") as new:
            assert old.quantization == new.quantization and new.info["comment"] == b"hello"  # type: ignore[attr-defined]
            assert old.layer == new.layer  # type: ignore[attr-defined]
        again = open_photo(tmp_path / "b.jpg").pixels.astype(int) - open_photo(source).pixels
        assert np.abs(again[:80]).mean() < 0.5  # encoded anew, and hardly anything is lost again


def test_captions_of_the_older_kind_are_kept(tmp_path: Path) -> None:
    captions = b"\x1c\x02\x78\x00\x05Beach"
    block = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(captions).to_bytes(4, "big") + captions
    source = written(tmp_path / "a.jpg", extra=b"\xff\xed" + (len(block) + 2).to_bytes(2, "big") + block)
    edited(source).save(tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as picture:
        assert picture.info["photoshop"][0x0404] == captions


def test_what_is_gray_stays_gray_and_what_is_lossless_lossless(tmp_path: Path) -> None:
    open_photo(written(tmp_path / "a.png", portrait().convert("L"))).save(tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.mode == "L" and np.array_equal(np.asarray(picture), np.asarray(portrait().convert("L")))
    open_photo(written(tmp_path / "a.webp", lossless=True)).save(tmp_path / "b.webp")
    assert np.array_equal(open_photo(tmp_path / "b.webp").pixels, np.asarray(portrait()))


@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
def test_transparency_is_kept_and_so_are_the_colours_under_it(kind: str, tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (40, 50, 4)).astype(np.uint8)
    rgba[:5, :, 3], rgba[5:10, :, 3] = 0, 255
    options = {"lossless": True, "exact": True} if kind == "webp" else {}
    source = written(tmp_path / f"a.{kind}", Image.fromarray(rgba), **options)
    photo = open_photo(source)
    photo.save(tmp_path / f"same.{kind}")
    with Image.open(tmp_path / f"same.{kind}") as picture:
        assert np.array_equal(np.asarray(picture.convert("RGBA")), rgba)
    pixels = photo.pixels.copy()
    pixels[7, :25] = (10, 20, 30)
    pixels[20, :25] = (200, 210, 220)
    replace(photo, pixels=pixels).save(tmp_path / f"new.{kind}")
    with Image.open(tmp_path / f"new.{kind}") as picture:
        new = np.asarray(picture.convert("RGBA"))
    rest = np.ones(rgba.shape[:2], bool)
    rest[7, :25] = rest[20, :25] = False
    assert np.array_equal(new[rest], rgba[rest]) and np.array_equal(new[..., 3], rgba[..., 3])
    assert (new[7, :25, :3] == (10, 20, 30)).all()
    reachable = rgba[20, :25, 3] > 60  # over white, a faint pixel can be no darker than it lets through
    seen = open_photo(tmp_path / f"new.{kind}").pixels[20, :25].astype(int)
    assert np.abs(seen[reachable] - (200, 210, 220)).max() <= 2


def test_cmyk_with_a_profile_that_is_none_is_still_read(tmp_path: Path) -> None:
    source = written(tmp_path / "a.jpg", portrait().convert("CMYK"), icc_profile=b"nothing of the kind" * 10)
    edited(source).save(tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as picture:
        assert picture.mode == "RGB" and "icc_profile" not in picture.info


def test_saving_twice_says_everything_once(tmp_path: Path) -> None:
    photo = edited(written(tmp_path / "a.png"))
    for name in ("b.png", "c.png"):
        photo.save(tmp_path / name)
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


def test_a_reader_of_metadata_needs_no_gradstyle(tmp_path: Path) -> None:
    """The packet stands in the file as text, where any program finds it."""
    edited(written(tmp_path / "a.jpg")).save(tmp_path / "b.jpg")
    program = (
        "import sys; data = open(sys.argv[1], 'rb').read(); print(b'compositeWithTrainedAlgorithmicMedia' in data)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "b.jpg")], capture_output=True, text=True)
    assert done.stdout.strip() == "True"


def test_the_old_thumbnail_goes(tmp_path: Path) -> None:
    """Made by hand: an EXIF block whose second directory holds a JPEG of the face as it was."""
    small = io.BytesIO()
    portrait().resize((40, 40)).save(small, "JPEG")
    thumbnail = small.getvalue()

    def entry(tag: int, kind: int, value: int) -> bytes:
        return b"".join(x.to_bytes(n, "little") for x, n in ((tag, 2), (kind, 2), (1, 4), (value, 4)))

    first = (1).to_bytes(2, "little") + entry(0x0112, 3, 1) + (26).to_bytes(4, "little")
    second = (3).to_bytes(2, "little") + entry(0x0103, 3, 6) + entry(0x0201, 4, 68) + entry(0x0202, 4, len(thumbnail))
    block = b"Exif\0\0II*\0\x08\0\0\0" + first + second + bytes(4) + thumbnail
    source = written(tmp_path / "a.jpg", exif=block)
    assert thumbnail in source.read_bytes()
    edited(source).save(tmp_path / "b.jpg")
    assert thumbnail not in (tmp_path / "b.jpg").read_bytes()
