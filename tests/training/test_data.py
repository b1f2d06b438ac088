from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import tarfile
import threading
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gradstyle.images import to_8_bits, to_float
from gradstyle.photos.framing import Framing, decode
from gradstyle.training import sources
from gradstyle.training.batches import Batches, Order
from gradstyle.training.images import Images
from gradstyle.training.table import Split


def picture(seed: int, size: tuple[int, int] = (24, 24)) -> Image.Image:
    """Smooth random colours, so that resizing and JPEG keep them recognisable."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "png", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine pictures, some nested, with files that are none."""
    root = tmp_path / "photos"
    for i in range(9):
        file = root / f"{i % 3}" / f"{i:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(picture(i)))
    (root / "readme.txt").write_text("not a picture")
    (root / "0" / "._000.png").write_bytes(b"a resource fork")
    return root


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
        archive.writestr("__MACOSX/0/000.png", b"nothing")
    return target


def opened(path: Path, tmp_path: Path, resolution: int = 16, **options) -> Images:
    return Images.open(path, resolution, cache=tmp_path / "cache", workers=2, **{"progress": False, **options})


# ---- sources


def test_folder_and_zip_of_the_same_pictures_are_the_same_data(folder: Path, tmp_path: Path):
    loose = opened(folder, tmp_path)
    packed = Images.open(zipped(folder, tmp_path / "photos.zip"), 16, cache=None)
    assert loose.names == packed.names == tuple(sorted(f"{i % 3}/{i:03}.png" for i in range(9)))
    assert loose.fingerprint == packed.fingerprint
    assert torch.equal(loose.gather(range(9)), packed.gather(range(9)))
    expected = np.asarray(picture(3).resize((16, 16), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    assert loose[1].dtype == torch.uint8
    assert np.array_equal(loose[1], expected)  # 0/003.png


def test_shards_give_one_picture_a_sample(tmp_path: Path):
    shards = tmp_path / "shards"
    shards.mkdir()
    for shard in range(2):
        with tarfile.open(shards / f"data-{shard}.tar", "w") as tar:
            for i in range(3):
                files = {
                    f"{i:04}.seg.png": encoded(picture(99)),
                    f"{i:04}.png": encoded(picture(3 * shard + i)),
                    f"{i:04}.json": b"{}",
                }
                for name, data in files.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    images = opened(shards, tmp_path, resolution=24)
    assert len(images) == 6
    for i in range(6):
        assert np.array_equal(images[i], np.asarray(picture(i)).transpose(2, 0, 1))
    assert len(opened(shards / "data-1.tar", tmp_path)) == 3


def test_compressed_shards_are_refused_with_advice(tmp_path: Path):
    with tarfile.open(tmp_path / "data.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(ValueError, match="unpack compressed shards"):
        opened(tmp_path / "data.tar", tmp_path)


def test_nothing_to_read(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures in"):
        opened(tmp_path / "empty", tmp_path)
    with pytest.raises(FileNotFoundError, match="missing"):
        opened(tmp_path / "missing", tmp_path)


# ---- one photo


def test_orientation_is_applied():
    upright = picture(1, (30, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise when shown
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    assert np.array_equal(decode(encoded(stored, "png", exif=exif)), upright)


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "LA", "1", "I;16", "PA"])
def test_kinds_of_pixels(mode: str):
    grey = np.tile(np.linspace(0, 255, 16).astype(np.uint8), (16, 1))
    plain = Image.fromarray(grey)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
        assert image.mode == "I;16"
    elif mode == "PA":
        image = plain.convert("P")
        image.info["transparency"] = 0
    elif mode == "P":
        image = plain.convert("RGB").quantize(16)
    else:
        image = plain.convert(mode)
    data = encoded(image, "tiff" if mode == "CMYK" else "png")
    result = np.asarray(decode(data)).astype(int)
    assert result.shape == (16, 16, 3)
    if mode == "1":
        assert set(np.unique(result)) == {0, 255}
    elif mode == "PA":  # black is see-through there, and shown on white
        assert (result[:, 0] == 255).all()
        assert np.abs(result[:, 1:] - grey[:, 1:, None]).max() == 0
    else:
        assert np.abs(result - grey[..., None]).max() <= (16 if mode == "P" else 1)


def test_transparency_is_shown_on_white():
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    assert np.asarray(decode(encoded(image)))[0, 0].tolist() == [255, 127, 127]


def test_centre_crop_is_the_middle():
    stripes = np.zeros((20, 60, 3), np.uint8)
    stripes[:, 20:40] = 200
    square = Framing(16)(encoded(Image.fromarray(stripes))).astype(int)
    assert np.abs(square - 200).max() <= 8  # the filter sees a little of what is cut off


def test_a_large_jpeg_is_reduced_well():
    large = picture(5, (1600, 1200))
    framing = Framing(32)
    square = framing(encoded(large, "jpeg", quality=95))
    expected = large.crop((200, 0, 1400, 1200)).resize((32, 32), Image.Resampling.LANCZOS)
    assert np.abs(square.astype(int) - np.asarray(expected).transpose(2, 0, 1)).max() <= 6


@pytest.mark.parametrize(("size", "aspect"), [((128, 96), 4 / 3), ((60, 80), 3 / 4)])
def test_bars_are_put_on_and_taken_off(size: tuple[int, int], aspect: float):
    photo = Image.new("RGB", size, (255, 128, 64))
    framing = Framing(64, aspect=aspect)
    square = framing(encoded(photo))
    rows, columns = framing.inside(64)
    assert {rows.stop - rows.start, columns.stop - columns.start} == {48, 64}
    assert (rows if aspect > 1 else columns) == slice(8, 56)
    filled = framing.without_bars(torch.from_numpy(square))
    assert filled.shape[1:] == ((48, 64) if aspect > 1 else (64, 48))
    assert (filled == torch.tensor([255, 128, 64])[:, None, None]).all()
    assert int(square.astype(int).sum()) == 48 * 64 * (255 + 128 + 64)  # all else is black
    assert framing.without_bars(torch.zeros(2, 3, 256, 256)).numel() == 2 * 3 * 192 * 256


def test_padding_keeps_all_of_any_photo():
    framing = Framing(32, "pad")
    square = framing(encoded(Image.new("RGB", (10, 40), "white")))
    rows, columns = framing.inside(32, (10, 40))
    assert (rows, columns) == (slice(0, 32), slice(12, 20))
    assert (square[:, rows, columns] == 255).all() and square[:, :, :12].max() == 0
    with pytest.raises(ValueError, match="depend on the photo"):
        framing.inside(32)


def test_without_cropping_another_shape_is_refused():
    Framing(16, "none")(encoded(picture(0, (40, 40))))
    Framing(16, "none", aspect=4 / 3)(encoded(picture(0, (40, 30))))
    with pytest.raises(ValueError, match="40×30"):
        Framing(16, "none")(encoded(picture(0, (40, 30))))


def test_wrong_framing_is_quoted():
    with pytest.raises(ValueError, match="'centre'"):
        Framing(16, "centre")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got 0"):
        Framing(16, aspect=0)


# ---- the cache


def test_the_second_start_reads_no_picture(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = opened(folder, tmp_path)
    monkeypatch.setattr(Framing, "__call__", lambda *_: pytest.fail("decoded again"))
    second = opened(folder, tmp_path)
    assert second.names == first.names
    assert torch.equal(second.gather(range(9)), first.gather(range(9)))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert isinstance(second.pixels, np.memmap)


def test_other_pictures_or_rules_are_other_data(folder: Path, tmp_path: Path):
    prints = {opened(folder, tmp_path).fingerprint, opened(folder, tmp_path, resolution=8).fingerprint}
    prints.add(opened(folder, tmp_path, crop="pad").fingerprint)
    one = folder / "1" / "001.png"
    size = one.stat().st_size
    one.write_bytes(encoded(picture(77)).ljust(size, b"\0")[:size])
    prints.add(opened(folder, tmp_path, crop="none").fingerprint)
    one.unlink()
    prints.add(opened(folder, tmp_path).fingerprint)
    assert len(prints) == 5


def test_a_cache_cut_short_is_built_anew(folder: Path, tmp_path: Path):
    expected = opened(folder, tmp_path).gather(range(9))
    (pixels,) = (tmp_path / "cache").glob("*/pixels.u8")
    pixels.write_bytes(pixels.read_bytes()[:-1])
    assert torch.equal(opened(folder, tmp_path).gather(range(9)), expected)


def _race(folder: Path, tmp_path: Path, start, results) -> None:
    start.wait()
    results.put(opened(folder, tmp_path).gather(range(9)).sum().item())


def test_processes_may_race_for_the_cache(folder: Path, tmp_path: Path):
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    start, results = context.Event(), context.Queue()
    processes = [context.Process(target=_race, args=(folder, tmp_path, start, results)) for _ in range(3)]
    for process in processes:
        process.start()
    start.set()
    sums = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert sums == {opened(folder, tmp_path).gather(range(9)).sum().item()}
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_an_interrupted_build_leaves_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(self: Framing, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Framing, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        opened(folder, tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []


# ---- broken files


def many(root: Path, count: int) -> Path:
    root.mkdir()
    data = encoded(picture(0, (4, 4)))
    for i in range(count):
        (root / f"{i:03}.png").write_bytes(data)
    return root


def test_few_broken_files_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    root = many(tmp_path / "photos", 200)
    (root / "007.png").write_bytes(b"no picture at all")
    (root / "100.png").write_bytes((root / "101.png").read_bytes()[:60])
    images = opened(root, tmp_path, resolution=4)
    assert len(images) == 198 and "007.png" not in images.names
    assert [broken.name for broken in images.broken] == ["007.png", "100.png"]
    assert "2 of 200" in caplog.text and "007.png" in caplog.text
    assert [b.name for b in opened(root, tmp_path, resolution=4).broken] == ["007.png", "100.png"]
    assert images.gather(range(198)).float().std(dim=0).max() == 0  # rows moved up, none is blank


def test_many_broken_files_stop_the_start(tmp_path: Path):
    root = many(tmp_path / "photos", 200)
    for i in range(12):
        (root / f"{i:03}.png").write_bytes(b"no picture at all")
    with pytest.raises(ValueError, match="12 of 200 pictures") as error:
        opened(root, tmp_path, resolution=4)
    assert all(f"{i:03}.png" in str(error.value) for i in range(10))
    assert "010.png" not in str(error.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_decompression_bomb_counts_as_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = many(tmp_path / "photos", 150)
    (root / "000.png").write_bytes(encoded(Image.new("L", (100, 100))))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    (broken,) = opened(root, tmp_path, resolution=4).broken
    assert broken.name == "000.png" and "decompression bomb" in broken.reason


def test_without_a_cache_the_broken_file_is_named_when_met(tmp_path: Path):
    root = many(tmp_path / "photos", 3)
    (root / "001.png").write_bytes(b"no picture at all")
    images = Images.open(root, 4, cache=None)
    images[0]
    with pytest.raises(ValueError, match=r"001\.png"):
        images[1]


# ---- splits and labels


TABLE = "image_id,split,Smiling,Hat\n" + "".join(
    f"{i:03}.jpg,{'train' if i % 4 else 'test'},{i % 2},{-1 if i < 5 else 1}\n" for i in range(12)
)


@pytest.mark.parametrize("place", ["inside", "beside", "path", "zip"])
def test_split_and_labels_by_table(folder: Path, tmp_path: Path, place: str):
    where = {"inside": folder, "beside": tmp_path, "path": tmp_path / "elsewhere", "zip": folder}[place]
    where.mkdir(exist_ok=True)
    (where / "list.csv").write_text(TABLE)
    file = str(where / "list.csv") if place == "path" else "list.csv"
    data = zipped(folder, tmp_path / "photos.zip") if place == "zip" else folder
    images = opened(data, tmp_path, split=Split(file, "split", "test"))
    assert images.names == ("0/000.png", "1/004.png", "2/008.png")
    labels = images.labels(file)
    assert labels.names == ("Smiling", "Hat")
    assert labels.values.tolist() == [[0, 0], [0, 0], [0, 1]]
    assert images.labels(file, ["Hat"]).values.tolist() == [[0], [0], [1]]
    assert images.fingerprint != opened(data, tmp_path).fingerprint


def test_split_by_list(folder: Path, tmp_path: Path):
    (tmp_path / "val.txt").write_text("2/002.png\n004.png\nabsent.png\n")
    images = opened(folder, tmp_path, split=Split(str(tmp_path / "val.txt")))
    assert images.names == ("1/004.png", "2/002.png")


def test_labels_as_tables_write_them(folder: Path, tmp_path: Path):
    images = opened(folder, tmp_path)
    written = ["1", "-1", "1.0", "0.0", " 0", "1", "-1.0", "0", "1"]
    lines = "\n".join(f"{name}, {text}" for name, text in zip(images.names, written))
    (folder / "any.csv").write_text(f"image_id,Smiling\n{lines}\n\n")
    assert images.labels("any.csv").values[:, 0].tolist() == [1, 0, 1, 0, 0, 1, 0, 0, 1]


def test_wrong_splits_say_what_there_is(folder: Path, tmp_path: Path):
    (folder / "list.csv").write_text(TABLE)
    with pytest.raises(ValueError, match=r"no picture with split = 'val' \(it has test, train\)"):
        opened(folder, tmp_path, split=Split("list.csv", "split", "val"))
    with pytest.raises(ValueError, match="no column 'part'; it has split"):
        opened(folder, tmp_path, split=Split("list.csv", "part", "test"))
    with pytest.raises(FileNotFoundError, match=r"no other\.csv"):
        opened(folder, tmp_path, split=Split("other.csv", "split", "test"))
    with pytest.raises(ValueError, match="needs both"):
        Split("list.csv", "split")
    images = opened(folder, tmp_path)
    (folder / "short.csv").write_text("image_id,Smiling\n000.jpg,1\n")
    with pytest.raises(ValueError, match=r"no line for 8 of 9 pictures, such as 0/003\.png: label them"):
        images.labels("short.csv")
    with pytest.raises(ValueError, match=r"split of 0/000\.png must be 0 or -1, or 1, got 'test'"):
        images.labels("list.csv", ["split"])
    with pytest.raises(ValueError, match="no column 'Smilling', did you mean 'Smiling'"):
        images.labels("list.csv", ["Smilling"])
    with pytest.raises(ValueError, match=r"labels are a \.csv"):
        images.labels("list_attr.txt")
    (folder / "words.csv").write_text("image_id,Hair\n" + "".join(f"{name},brown\n" for name in images.names))
    with pytest.raises(ValueError, match="no column of zeros and ones"):
        images.labels("words.csv")
    (folder / "ragged.csv").write_text("image_id,Smiling\n000.jpg\n")
    with pytest.raises(ValueError, match="line 2"):
        images.labels("ragged.csv")


def test_one_line_for_two_pictures_is_refused(folder: Path, tmp_path: Path):
    shutil.copy(folder / "0" / "000.png", folder / "1" / "000.png")
    (folder / "list.csv").write_text(TABLE)
    with pytest.raises(ValueError, match=r"fits both 0/000\.png and 1/000\.png"):
        opened(folder, tmp_path, split=Split("list.csv", "split", "test"))


# ---- batches


def take(batches: Batches, count: int) -> list[torch.Tensor]:
    return [next(batches) for _ in range(count)]


def test_each_picture_once_an_epoch():
    order = Order(7, seed=3)
    indices = torch.cat([order.at(p, 4)[0] for p in range(0, 28, 4)])  # batches that cross epochs
    for epoch in indices.split(7):
        assert sorted(epoch.tolist()) == list(range(7))
    assert not torch.equal(indices[:7], indices[7:14])
    assert not torch.equal(indices[:7], Order(7, seed=4).at(0, 7)[0])
    assert order.at(0, 28)[0].tolist() == indices.tolist()


def test_batches_are_the_pictures(folder: Path, tmp_path: Path):
    images = opened(folder, tmp_path)
    batches = Batches(images, 4, seed=1)
    for _ in range(5):
        batch = next(batches)
        assert batch.shape == (4, 3, 16, 16) and batch.dtype == torch.float32
        assert batch.min() >= -1 and batch.max() <= 1
        assert torch.equal(to_8_bits(batch), images.gather(batches.indices))
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_8_bits(to_float(every)), every)
    batches.close()


def test_mirrored_half_of_the_time(folder: Path, tmp_path: Path):
    images = opened(folder, tmp_path)
    plain, mirrored = Batches(images, 90, seed=2), Batches(images, 90, seed=2, mirror=True)
    a, b = next(plain), next(mirrored)
    flips = torch.tensor([not torch.equal(x, y) for x, y in zip(a, b)])
    assert torch.equal(b, torch.where(flips[:, None, None, None], a.flip(3), a))
    assert 25 <= int(flips.sum()) <= 65
    plain.close()
    mirrored.close()


@pytest.mark.parametrize("world", [2, 4])
def test_processes_together_give_the_batch_of_one(folder: Path, tmp_path: Path, world: int):
    images = opened(folder, tmp_path)
    alone = Batches(images, 8, seed=5, mirror=True)
    shared = [Batches(images, 8, seed=5, rank=r, world=world, mirror=True) for r in range(world)]
    for _ in range(4):
        assert torch.equal(next(alone), torch.cat([next(part) for part in shared]))
    for part in [alone, *shared]:
        part.close()


def test_resumes_exactly_whatever_was_loaded_ahead(folder: Path, tmp_path: Path):
    images = opened(folder, tmp_path)
    whole = take(Batches(images, 4, seed=6, mirror=True), 9)
    first = Batches(images, 4, seed=6, mirror=True, ahead=3)
    take(first, 5)
    state = first.state_dict()
    assert state == {"seed": 6, "position": 20}
    second = Batches(images, 4, seed=0, mirror=True)
    next(second)
    second.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(take(second, 4), whole[5:]))
    first.close()
    assert torch.equal(next(first), whole[5])  # closing does not lose what was loaded ahead


def test_an_error_while_loading_reaches_the_reader(tmp_path: Path):
    root = many(tmp_path / "photos", 4)
    (root / "002.png").write_bytes(b"no picture at all")
    batches = Batches(Images.open(root, 4, cache=None), 4)
    with pytest.raises(ValueError, match=r"002\.png"):
        next(batches)
    assert batches.state_dict()["position"] == 0


def test_a_forgotten_loader_stops(folder: Path, tmp_path: Path):
    batches, before = Batches(opened(folder, tmp_path), 2), set(threading.enumerate())
    next(batches)
    (thread,) = set(threading.enumerate()) - before
    del batches
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_wrong_batches_are_quoted(folder: Path, tmp_path: Path):
    images = opened(folder, tmp_path)
    with pytest.raises(ValueError, match="batch of 5 cannot be dealt out to 2"):
        Batches(images, 5, world=2)
    with pytest.raises(ValueError, match="got 2"):
        Batches(images, 4, rank=2, world=2)


# ---- archives that are larger than they look


def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of members as they are opened."""
    names: list[str] = []
    take = zipfile.ZipFile.open

    def note(self: zipfile.ZipFile, member, *others, **options):
        names.append(member.filename)
        return take(self, member, *others, **options)

    monkeypatch.setattr(zipfile.ZipFile, "open", note)
    return names


def packed(file: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file


def test_an_archive_that_unpacks_to_far_more_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "SMALL_ZIP", 100_000)
    bomb = packed(tmp_path / "bomb.zip", {f"{i}.png": bytes(50_000) for i in range(4)})
    names = unpacked(monkeypatch)
    with pytest.raises(ValueError, match=r"bomb\.zip has \d+ bytes and unpacks to 200,000: it is a zip bomb"):
        opened(bomb, tmp_path)
    assert names == []


def test_a_member_that_unpacks_to_far_more_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "SMALL_FILE", 10_000)
    good = {f"{i}.png": encoded(picture(i)) for i in range(3)}
    mixed = packed(tmp_path / "mixed.zip", {**good, "flat.png": bytes(50_000)})
    names = unpacked(monkeypatch)
    monkeypatch.setattr("gradstyle.training.images.BROKEN_LIMIT", 0.5)
    (broken,) = opened(mixed, tmp_path).broken  # the fingerprint has read nothing of it either
    assert broken.name == "flat.png" and "bytes that unpack to 50,000 are no photo" in broken.reason
    assert set(names) == set(good)


def test_no_file_is_read_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = many(tmp_path / "photos", 3)
    monkeypatch.setattr(sources, "LARGEST_FILE", 10)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("read"))
    with pytest.raises(ValueError, match="bytes are more than a photo has"):
        opened(root, tmp_path)


def test_a_size_that_lies_is_not_believed(tmp_path: Path):
    """16 MB that the archive declares to be 1,000 bytes."""
    lying = packed(tmp_path / "lying.zip", {"a.png": bytes(16 << 20)})
    lying.write_bytes(lying.read_bytes().replace((16 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"1 of 1 pictures .*: a\.png: "):
            opened(lying, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_what_cannot_be_limited_is_not_unpacked(tmp_path: Path):
    strange = packed(tmp_path / "strange.zip", {"a.png": encoded(picture(0))}, zipfile.ZIP_BZIP2)
    with pytest.raises(ValueError, match=r"a\.png: it is packed by another method than deflate"):
        opened(strange, tmp_path)
    cut = packed(tmp_path / "cut.zip", {"a.png": encoded(picture(0))})
    cut.write_bytes(cut.read_bytes().replace(b"PK\x01\x02", b"PK\x01\x03"))
    with pytest.raises(ValueError, match=r"cut\.zip cannot be read as a zip \("):
        opened(cut, tmp_path)


# ---- what is said


def test_bad_pictures_are_named_in_one_plain_line(tmp_path: Path):
    root = many(tmp_path / "photos", 12)
    for file in root.iterdir():
        file.write_bytes(b"no picture at all")
    with pytest.raises(ValueError, match="12 of 12") as error:
        opened(root, tmp_path)
    said = str(error.value)
    assert "000.png: not a picture that can be read; 001.png" in said and "; and 2 more. Repair" in said
    assert "\n" not in said and "object at" not in said


BINARY, ENDLESS = b"\x89PNG\r\n\x1a\n\xff\xfe", b'a,b\n"' + b"x" * 200_000


@pytest.mark.parametrize(("name", "data"), [("split.csv", BINARY), ("split.txt", BINARY), ("split.csv", ENDLESS)])
def test_a_split_that_is_no_text_is_named(folder: Path, tmp_path: Path, name: str, data: bytes):
    file = tmp_path / name
    file.write_bytes(data)
    with pytest.raises(ValueError, match=rf"{name} cannot be read as a text in UTF-8"):
        opened(folder, tmp_path, split=Split(str(file)))
