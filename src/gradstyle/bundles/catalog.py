"""The published checkpoints of this field, by name: where their authors put them and on what terms.

Every address was read in the project named as its source. A size or a digest is given only where it was found
published for that very file; elsewhere the first whole download's digest is kept, and later ones must have it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeAlias

from ..files import cache_folder, file_sha256, write_text
from .download import OtherFile, Progress, fetch, unpack
from .http import DownloadError

Kind: TypeAlias = Literal["generator", "encoder and generator", "method", "loss network", "directions"]


@dataclass(frozen=True)
class Published:
    """One file. What it becomes is read from its content when it is imported; `kind` only tells a person."""

    name: str
    title: str
    kind: Kind  # a method's file holds its encoder and generator too
    domain: str
    url: str  # https, or gdrive:ID
    file: str  # its name on the disk
    licence: str
    source: str  # the page that gives the address
    resolution: int | None = None
    size: int | None = None
    sha256: str | None = None  # or its first digits, where a file name holds no more
    member: str | None = None  # the file within, where a zip was published
    needs: tuple[str, ...] = ()
    notes: str = ""

    @property
    def aspect(self) -> tuple[int, int]:
        """Width and height of its photos, which are padded to the square."""
        return (4, 3) if self.domain == "cars" else (1, 1)


_NVIDIA = "NVIDIA Source Code License: non-commercial"
_MIT_ON_NVIDIA = "MIT; its generator is NVIDIA's: non-commercial"
_UNSTATED = "none stated: ask the authors; its generator is NVIDIA's: non-commercial"
_E4E = "https://github.com/omertov/encoder4editing"
_RESTYLE = "https://github.com/yuval-alaluf/restyle-encoder"
_ADA = "https://github.com/NVlabs/stylegan2-ada-pytorch"
_STYLEGAN3 = "https://github.com/NVlabs/stylegan3"
_HFGI = "https://github.com/Tengfei-Wang/HFGI"
_STYLERES = "https://github.com/hamzapehlivan/StyleRes"
_SDIC = "https://github.com/ZzqLKED/SDIC"
_LPIPS = "https://github.com/richzhang/PerceptualSimilarity"
_ADA_FILES = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained"
_NGC_FILES = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/files"
_E4E_FILES = "https://raw.githubusercontent.com/omertov/encoder4editing/main/editings"
_LPIPS_FILES = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1"


def _converted(
    domain: str, data: str, resolution: int, drive: str, file: str, source: str, notes: str = ""
) -> Published:
    return Published(
        name=f"stylegan2-{domain}-{resolution}",
        title=f"StyleGAN2, {data}, converted by rosinality's script",
        kind="generator",
        domain=domain,
        resolution=resolution,
        url=f"gdrive:{drive}",
        file=file,
        licence=_NVIDIA,
        source=source,
        notes=notes,
    )


def _ada(domain: str, data: str, resolution: int, *, size: int | None = None, sha256: str | None = None) -> Published:
    return Published(
        name=f"nvidia-{domain}-{resolution}",
        title=f"StyleGAN2-ADA, {data}",
        kind="generator",
        domain=domain,
        resolution=resolution,
        url=f"{_ADA_FILES}/{domain}.pkl",
        file=f"{domain}.pkl",
        licence=_NVIDIA,
        source=_ADA,
        size=size,
        sha256=sha256,
    )


def _ngc(domain: str, data: str, resolution: int) -> Published:
    file = f"stylegan2-{domain}-{resolution}x{resolution}.pkl"
    return Published(
        name=f"nvidia-{domain}-{resolution}",
        title=f"StyleGAN2, {data}",
        kind="generator",
        domain=domain,
        resolution=resolution,
        url=f"{_NGC_FILES}/{file}",
        file=file,
        licence=_NVIDIA,
        source=_STYLEGAN3,
    )


def _e4e(domain: str, data: str, resolution: int, drive: str) -> Published:
    return Published(
        name=f"e4e-{domain}",
        title=f"e4e, {data}",
        kind="encoder and generator",
        domain=domain,
        resolution=resolution,
        url=f"gdrive:{drive}",
        file=f"e4e_{domain}_encode.pt",
        licence=_MIT_ON_NVIDIA,
        source=_E4E,
    )


def _directions(name: str, title: str, path: str, needs: str) -> Published:
    return Published(
        name=name,
        title=title,
        kind="directions",
        domain=needs.removeprefix("e4e-"),
        url=f"{_E4E_FILES}/{path}",
        file=path.rpartition("/")[2],
        licence="MIT",
        source=_E4E,
        needs=(needs,),
    )


CATALOG: tuple[Published, ...] = (
    _e4e("ffhq", "FFHQ faces", 1024, "1cUv_reLE6k3604or78EranS7XzuVMWeO"),
    _e4e("cars", "cars", 512, "17faPqBce2m1AQeLCLHUVXaDfxMRU2QcV"),
    _e4e("horse", "horses", 256, "1TkLLnuX86B_BMo2ocYD0kX9kWh53rUVX"),
    _e4e("church", "churches", 256, "1-L0ZdnQLwtdy6-A_Ccgq5uNJGTqE7qBa"),
    Published(
        name="styleres-ffhq",
        title="StyleRes, FFHQ faces",
        kind="method",
        domain="ffhq",
        resolution=1024,
        url="gdrive:1SXNe_txGQaGQg3AthSdwlBAlDPjlzFet",
        file="styleres_ffhq.zip",
        member="styleres_ffhq.pth",
        licence=_NVIDIA,
        source=_STYLERES,
    ),
    Published(
        name="hfgi-ffhq",
        title="HFGI, FFHQ faces",
        kind="method",
        domain="ffhq",
        resolution=1024,
        url="gdrive:19y6pxOiJWB0NoG3fAZO9Eab66zkN9XIL",
        file="hfgi_ffhq.pt",
        licence=_UNSTATED,
        source=_HFGI,
        size=1_342_891_936,  # as the project's notebook shows it being fetched
    ),
    Published(
        name="sdic-ffhq",
        title="SDIC, FFHQ faces",
        kind="method",
        domain="ffhq",
        resolution=1024,
        url="gdrive:1-IcTTzXTNq_W8pNEC5tzN-srH0uzpKEW",
        file="sdic_ffhq.pt",
        licence=_UNSTATED,
        source=_SDIC,
    ),
    Published(
        name="sdic-cars",
        title="SDIC, LSUN Car",
        kind="method",
        domain="cars",
        resolution=512,
        url="gdrive:1_Dfu06wuRqgFLXnc98HJv8QuBiLjrQgG",
        file="sdic_cars.pt",
        licence=_UNSTATED,
        source=_SDIC,
    ),
    _converted("ffhq", "FFHQ faces", 1024, "1EM87UquaoQmk17Q8d5kYIAHqu0dkYqdT", "stylegan2-ffhq-config-f.pt", _E4E),
    _converted(
        "cars",
        "LSUN Car",
        512,
        "1UmMHHB3DU1trTB8_9Fjkck5ZwArnD81B",
        "stylegan2-car-config-f.pt",
        _RESTYLE,
        "images of 512 × 384, padded to the square",
    ),
    _converted(
        "church", "LSUN Church", 256, "1ZSZOFtw5wZfPhWEzHFB9LI__bikaHsn6", "stylegan2-church-config-f.pt", _RESTYLE
    ),
    _converted(
        "horse", "LSUN Horse", 256, "1bM7ms1tWCucnySjiS6-NNrPJGDkqQQWi", "stylegan2-horse-config-f.pt", _RESTYLE
    ),
    _converted(
        "afhqwild", "AFHQ Wild", 512, "1z6IVVaCJuFTksKwp1CM3emWOVHbrBip-", "stylegan2-ada-afhqwild.pt", _RESTYLE
    ),
    _ada(
        "ffhq",
        "FFHQ faces",
        1024,
        size=381_624_121,
        sha256="a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c",
    ),
    _ada("metfaces", "MetFaces", 1024),
    _ada("afhqcat", "AFHQ Cat", 512),
    _ada("afhqdog", "AFHQ Dog", 512),
    _ada("afhqwild", "AFHQ Wild", 512),
    _ada("brecahad", "BreCaHAD histology", 512),
    _ngc("ffhq", "FFHQ faces", 512),
    _ngc("ffhq", "FFHQ faces", 256),
    _ngc("ffhqu", "FFHQ, unaligned faces", 1024),
    _ngc("ffhqu", "FFHQ, unaligned faces", 256),
    _ngc("celebahq", "CelebA-HQ faces", 256),
    _ngc("metfacesu", "MetFaces, unaligned", 1024),
    _ngc("afhqv2", "AFHQ v2, all animals", 512),
    _ngc("lsundog", "LSUN Dog", 256),
    Published(
        name="arcface-ir-se50",
        title="ArcFace IR-SE-50 (model_ir_se50.pth), the identity loss",
        kind="loss network",
        domain="faces",
        resolution=112,
        url="https://github.com/xinntao/facexlib/releases/download/v0.1.0/recognition_arcface_ir_se50.pth",
        file="model_ir_se50.pth",
        licence="MIT",
        source="https://github.com/TreB1eN/InsightFace_Pytorch",
        size=175_367_323,
        sha256="a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28",
        notes="the same bytes as its author's, as released by facexlib",
    ),
    Published(
        name="curricularface",
        title="CurricularFace IR-101, the identity metric",
        kind="loss network",
        domain="faces",
        resolution=112,
        url="gdrive:1f4IwVa2-Bn9vWLwB-bUwm53U_MlvinAj",
        file="CurricularFace_Backbone.pth",
        licence="MIT",
        source="https://github.com/eladrich/pixel2style2pixel",
        notes="made by https://github.com/HuangYG123/CurricularFace",
    ),
    Published(
        name="moco-v2",
        title="ResNet-50 trained by MoCo v2, 800 epochs: the identity loss of domains other than faces",
        kind="loss network",
        domain="any",
        url="https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar",
        file="moco_v2_800ep_pretrain.pth.tar",
        licence="CC BY-NC 4.0: non-commercial",
        source="https://github.com/facebookresearch/moco",
    ),
    Published(
        name="vgg16",
        title="VGG16 trained on ImageNet, from torchvision",
        kind="loss network",
        domain="any",
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
        file="vgg16-397923af.pth",
        licence="BSD-3-Clause",
        source="https://github.com/pytorch/vision",
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    Published(
        name="alexnet",
        title="AlexNet trained on ImageNet, from torchvision",
        kind="loss network",
        domain="any",
        url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        file="alexnet-owt-7be5be79.pth",
        licence="BSD-3-Clause",
        source="https://github.com/pytorch/vision",
        sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    ),
    Published(
        name="lpips-vgg",
        title="LPIPS 0.1, linear layers on VGG16",
        kind="loss network",
        domain="any",
        url=f"{_LPIPS_FILES}/vgg.pth",
        file="lpips-v0.1-vgg.pth",
        licence="BSD-2-Clause",
        source=_LPIPS,
        size=7_289,
        sha256="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        needs=("vgg16",),
    ),
    Published(
        name="lpips-alex",
        title="LPIPS 0.1, linear layers on AlexNet",
        kind="loss network",
        domain="any",
        url=f"{_LPIPS_FILES}/alex.pth",
        file="lpips-v0.1-alex.pth",
        licence="BSD-2-Clause",
        source=_LPIPS,
        size=6_009,
        sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        needs=("alexnet",),
    ),
    _directions("interfacegan-age", "InterfaceGAN, age", "interfacegan_directions/age.pt", "e4e-ffhq"),
    _directions("interfacegan-smile", "InterfaceGAN, smile", "interfacegan_directions/smile.pt", "e4e-ffhq"),
    _directions("interfacegan-pose", "InterfaceGAN, pose", "interfacegan_directions/pose.pt", "e4e-ffhq"),
    _directions("ganspace-ffhq", "GANSpace, principal components", "ganspace_pca/ffhq_pca.pt", "e4e-ffhq"),
    _directions("ganspace-cars", "GANSpace, principal components", "ganspace_pca/cars_pca.pt", "e4e-cars"),
)


def names() -> list[str]:
    return [each.name for each in CATALOG]


def find(name: str) -> Published:
    by_name = {each.name: each for each in CATALOG}
    if entry := by_name.get(name.strip().lower()):
        return entry
    near = get_close_matches(name.strip().lower(), by_name, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(by_name)}"
    raise ValueError(f"no published checkpoint is called {name!r}; {hint}")


def pull(
    name_or_entry: str | Published,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    sha256: str | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Path:
    """Download a published file into `folder` (unless given, `downloads` in `cache_folder()`); return where it is.

    `sha256` is the caller's own pin: it stands in for whatever the catalogue says of size and digest. Where nobody
    gives a digest, that of the first whole download is kept in `FILE.sha256`, and every later one must have it.
    `tell` is called with what a person should know of that.
    """
    entry = find(name_or_entry) if isinstance(name_or_entry, str) else name_or_entry
    target = (folder or cache_folder() / "downloads") / entry.file
    pin = target.with_name(target.name + ".sha256")
    pinned = None if sha256 or entry.sha256 else _pinned(pin)
    try:
        path = fetch(
            entry.url,
            target,
            sha256=sha256 or entry.sha256 or pinned,
            size=None if sha256 else entry.size,
            progress=progress,
        )
    except DownloadError as error:
        other = pinned and isinstance(error, OtherFile)
        kept = f"; that SHA-256 is the first download's, kept in {pin}: delete it to take another file" if other else ""
        raise DownloadError(f"{error} ({entry.name} is from {entry.source}{kept})") from error
    if pinned:
        tell(f"the publisher gives no checksum; it is the file of the first download, as {pin} says")
    elif not entry.sha256:
        found = file_sha256(path)
        write_text(pin, f"{found}  {target.name}\n")
        whose = "yours" if sha256 else f"this file's SHA-256 is {found}"
        tell(f"the publisher gives no checksum; {whose}: kept in {pin}, later downloads must have it")
    return unpack(path, entry.member) if entry.member else path


def _pinned(pin: Path) -> str | None:
    """The digest of the first whole download; None before there was one."""
    if not pin.exists():
        return None
    text = pin.read_text("utf-8", errors="replace")[:200]
    if not re.fullmatch(r"[0-9a-f]{64} [ *].+\s*", text):
        raise DownloadError(f"{pin} holds no SHA-256: delete it, and the next download's is kept")
    return text[:64]


def table() -> str:
    """The catalogue in Markdown, as docs/published-weights.md holds it."""
    rows = [["name", "what it is", "domain", "pixels", "comes out", "needs", "licence", "checked by"], ["---"] * 8]
    for each in CATALOG:
        what = f"[{each.title}]({each.source})" + (f"; {each.notes}" if each.notes else "")
        check = "SHA-256" if each.sha256 else "size, first download" if each.size else "first download"
        pixels = "" if each.resolution is None else str(each.resolution)
        needs = ", ".join(f"`{other}`" for other in each.needs)
        rows.append([f"`{each.name}`", what, each.domain, pixels, each.kind, needs, each.licence, check])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
