"""Reads a photo's metadata and writes it again, with a record of how the photo was edited.

The record stands in XMP, where programs look for it (IPTC's `DigitalSourceType`, for a photo that a trained network
changed in part), and in EXIF's `Software` and `UserComment`, where people do.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, unescape

from PIL import ExifTags, Image, ImageCms, JpegImagePlugin, PngImagePlugin

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
NAMESPACES = {
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "gradstyle": "https://github.com/gradstyle/gradstyle/ns/1.0/",
}
COMMENT = b"ASCII\0\0\0"  # how EXIF says that a comment is plain text
SEGMENT = 65_000  # bytes that a JPEG has room for in one block
# Tags that say how pixels are stored, which the writer knows better, and two that are handed over by themselves.
STRUCTURE = {
    *range(254, 260), 262, 263, 266, 273, 274, *range(277, 282), 284, 290, 291, 297, 301, *range(317, 326), 330,
    332, *range(336, 348), *range(512, 522), 529, 530, 531, 532, 700, 34675, 37724,
}  # fmt: skip
XMP_TAG = 700
KEPT_KINDS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tiff", "AVIF": ".avif"}


@dataclass(frozen=True, eq=False)
class Origin:
    """The file that a photo was read from."""

    kind: str  # Pillow's name for the format
    mode: str = "RGB"
    icc: bytes = b""
    exif: bytes = b""  # without what says how pixels are stored
    xmp: bytes = b""
    options: dict[str, Any] = field(default_factory=dict)  # of the same format's writer
    rgba: Image.Image | None = None  # its pixels, upright, if some are transparent
    notes: tuple[str, ...] = ()  # what a person should know of how it was read

    @property
    def suffix(self) -> str:
        """The suffix of the kind of file that preserves most of it: JPEG for HEIC, PNG for palettes."""
        return suffix_of(self.kind)

    @property
    def edited(self) -> str:
        """The record of earlier edits with GradStyle, in the file's XMP."""
        found = re.search(r"<gradstyle:edits>([^<]*)</gradstyle:edits>", self.xmp.decode("utf-8", "ignore"))
        return unescape(found[1]) if found else ""


def suffix_of(kind: str) -> str:
    """Returns the suffix of the kind of file that preserves most of a photo of this kind."""
    return KEPT_KINDS.get(kind, ".jpg" if kind == "HEIF" else ".png")


def origin_of(picture: Image.Image, data: bytes, notes: list[str], rgba: Image.Image | None) -> Origin:
    """Collects the metadata of an opened, upright picture; what is broken is left out and noted."""
    info, kind = picture.info, picture.format or ""
    exif = b""
    try:
        tags = picture.getexif()
        for tag in STRUCTURE & set(tags):
            del tags[tag]
        exif = tags.tobytes() if len(tags) else b""
    except Exception as error:  # whatever a damaged block makes the reader raise
        notes.append(f"its EXIF is broken and left out ({error})")
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    options = {key: info[key] for key in ("dpi",) if _is_dpi(info.get(key))}
    icc = info.get("icc_profile") or b""
    return Origin(
        kind,
        picture.mode,
        icc if isinstance(icc, bytes) else b"",
        exif,
        xmp.encode() if isinstance(xmp, str) else xmp,
        options | _writer_options(picture, data),
        rgba,
        tuple(notes),
    )


def _writer_options(picture: Image.Image, data: bytes) -> dict[str, Any]:
    """Returns the options by which a format's writer loses no more of the picture than its first writer did."""
    if isinstance(picture, JpegImagePlugin.JpegImageFile):
        options: dict[str, Any] = {"comment": picture.info.get("comment", b"")}
        if picture.mode != "CMYK":
            options |= {"qtables": picture.quantization, "quality": -1, "progressive": "progression" in picture.info}
            if picture.layers == 3 and (sampling := JpegImagePlugin.get_sampling(picture)) >= 0:
                options["subsampling"] = sampling
        captions = (picture.info.get("photoshop") or {}).get(0x0404)  # IPTC's older form
        if isinstance(captions, bytes) and 0 < len(captions) < SEGMENT:
            block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(captions)) + captions
            block += bytes(len(captions) % 2)
            options["extra"] = b"\xff\xed" + struct.pack(">H", len(block) + 2) + block
        return options
    if picture.format == "PNG":
        texts = PngImagePlugin.PngInfo()
        for key, text in getattr(picture, "text", {}).items():
            if key != "XML:com.adobe.xmp" and not key.startswith("Raw profile"):
                texts.add_itxt(key, str(text))
        return {"pnginfo": texts}
    if picture.format == "WEBP":
        return {"lossless": _is_lossless(data), "exact": True}
    return {}


def _is_lossless(data: bytes) -> bool:
    """Tells whether a WebP is lossless, by the name of its chunk."""
    place = 12
    while place + 8 <= len(data):
        name, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if name in (b"VP8L", b"VP8 "):
            return name == b"VP8L"
        place += 8 + length + length % 2
    return False


def _is_dpi(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(0 < float(each) < 1e5 for each in value)


# ---- writing


def save_options(kind: str, origin: Origin | None, edited: str, software: str, strip: bool) -> dict[str, Any]:
    """Returns options of Pillow's `save`: the photo's metadata, unless stripped, and the record of its edits."""
    kept = None if strip else origin
    options: dict[str, Any] = {}
    if kept is not None:
        same = kept.kind == kind or {kept.kind, kind} == {"MPO", "JPEG"}
        options |= kept.options if same else {k: v for k, v in kept.options.items() if k == "dpi"}
        if kept.icc and (kept.mode not in ("CMYK", "LAB")):
            options["icc_profile"] = kept.icc
    exif, xmp = _exif(kept.exif if kept else b"", edited, software), _xmp(kept.xmp if kept else b"", edited, software)
    if kind == "JPEG" and len(exif.tobytes()) > SEGMENT:
        exif = _exif(b"", edited, software)
    if kind == "JPEG" and len(xmp) > SEGMENT:
        xmp = _xmp(b"", edited, software)
    if kind == "TIFF" and xmp:  # not compressed: Pillow's compressing writer takes no inner EXIF directories
        exif[XMP_TAG] = xmp
    elif kind == "PNG" and xmp:
        texts = PngImagePlugin.PngInfo()
        texts.chunks = list(options["pnginfo"].chunks) if "pnginfo" in options else []
        texts.add_itxt("XML:com.adobe.xmp", xmp.decode())
        options["pnginfo"] = texts
    elif xmp:
        options["xmp"] = xmp
    if len(exif.tobytes()) > len(Image.Exif().tobytes()):
        options["exif"] = exif.tobytes()
    return options


def _exif(kept: bytes, edited: str, software: str) -> Image.Exif:
    exif = Image.Exif()
    if kept:
        exif.load(kept)
    if edited:
        exif[ExifTags.Base.Software] = software
        details = exif.get_ifd(ExifTags.IFD.Exif)
        old = details.get(ExifTags.Base.UserComment)
        if not (isinstance(old, bytes) and old[8:].strip(b"\0 ") and b"edited with GradStyle" not in old):
            details[ExifTags.Base.UserComment] = COMMENT + f"edited with {software}: {edited}".encode(
                "ascii", "replace"
            )
    return exif


def _xmp(kept: bytes, edited: str, software: str) -> bytes:
    """Adds a description of the edit to an XMP packet, and removes properties that contradict it."""
    old = kept.rstrip(b"\0 ").decode("utf-8", "ignore")
    if not edited:
        return old.encode()
    spaces = " ".join(f'xmlns:{prefix}="{place}"' for prefix, place in NAMESPACES.items())
    said = (
        f'<rdf:Description rdf:about="" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" {spaces}>'
        f"<xmp:CreatorTool>{escape(software)}</xmp:CreatorTool>"
        f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
        f"<gradstyle:edits>{escape(edited)}</gradstyle:edits></rdf:Description>"
    )
    before = re.sub(
        r"<rdf:Description (?:(?!<rdf:Description).)*?<gradstyle:edits>.*?</rdf:Description>", "", old, flags=re.S
    )
    for name in ("Iptc4xmpExt:DigitalSourceType", "xmp:CreatorTool"):
        before = re.sub(rf"<{name}>[^<]*</{name}>|<{name}\s[^>]*/>|\s{name}=(?:\"[^\"]*\"|'[^']*')", "", before)
    head, end, tail = before.rpartition("</rdf:RDF>")
    if end and _is_xml(joined := head + said + end + tail):
        return joined.encode()
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{said}</rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()


def _is_xml(text: str) -> bool:
    if "<!" in text:  # declarations, which no packet needs, can be bombs
        return False
    try:
        ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return False
    return True


def in_srgb(picture: Image.Image, icc: bytes) -> Image.Image:
    """Converts a picture from its colour profile to sRGB."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        done = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):  # a profile that is none, or of another colour space
        return picture.convert("RGB")
    return done or picture.convert("RGB")
