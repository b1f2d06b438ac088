"""Videos: read and written as they were, a face followed and calm, only the face changed, and a stopped run goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from gradstyle import load
from gradstyle.bundles import Domain
from gradstyle.edits import Edit
from gradstyle.methods import Method
from gradstyle.photos import Aligned, Photo
from gradstyle.photos.carry import Carrying
from gradstyle.photos.faces import Face, Points, face_at, find_faces
from gradstyle.photos.head import Likeness
from gradstyle.photos.legs import Leg, meshes_of
from gradstyle.video import Options, VideoReport, edit_video, writing
from gradstyle.video import checkpoint as work
from gradstyle.video.frames import Painter, steadied
from gradstyle.video.reading import BadVideo, Turn, open_clip
from gradstyle.video.smooth import departures, fill, smooth, weights
from gradstyle.video.track import Cuts, Follower, runs_of
from gradstyle.video.writing import Format, Segment, join
from tests.support import films, tiny
from tests.support.films import Finder, drawn, heard, seen, write
from tests.support.project import ROOT

FACES = Domain("faces", (1, 1), "celeba")
EDIT = tiny.an_edit(1.0)


@pytest.fixture(scope="module")
def e4e() -> Method[Any]:
    return tiny.method("e4e")


def edited(
    method: Method[Any],
    source: Path,
    target: Path,
    finder: Callable[[], Any] = Finder,
    edit: Edit = EDIT,
    **options: Any,
) -> VideoReport:
    return edit_video(source, target, method, edit, FACES, Options(**options), follower=finder)


# ---- the film of a whole run


@pytest.fixture
def credulous(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn in these films is taken for a person, and what a tiny generator makes of it for a likeness."""
    monkeypatch.setattr("gradstyle.photos.carry.person_mask", lambda pixels: torch.ones(1, 1, *pixels.shape[:2]))
    monkeypatch.setattr("gradstyle.photos.carry.CARRYING", Carrying(alike=(-3, -2)))


@pytest.mark.usefixtures("credulous")
def test_a_film_comes_back_with_its_face_changed_and_its_sound(e4e: Method[Any], tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", frames=20, tone=True)
    report = edited(e4e, source, tmp_path / "b.mp4", quality=8)
    before, when_before = seen(source)
    after, when_after = seen(tmp_path / "b.mp4")
    assert report.frames == report.edited == len(after) == len(before) == 20 and report.shots == 1
    assert when_after == when_before
    assert heard(tmp_path / "b.mp4") == heard(source)  # the very bytes, at the very times
    for index, (old, new) in enumerate(zip(before, after)):
        change = np.abs(new.astype(float) - old).mean(axis=2)
        x = 160 + 2 * index
        assert change[80:160, x - 30 : x + 30].mean() > 10, index
        assert change[:, : x - 110].max(initial=0) < 8 and change[:, x + 110 :].max(initial=0) < 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert "GradStyle" in container.metadata["comment"]


MEMORY = """
import sys, time
from pathlib import Path
import torch
from tests.support import tiny
from tests.support.films import Finder
from tests.support.peak_memory import peak
from gradstyle.bundles import Domain
from gradstyle.video import checkpoint, edit_video
torch.set_num_threads(1)
checkpoint.CHUNK = 80
source, target = map(Path, sys.argv[1:])
domain = Domain("faces", (1, 1), "celeba")
report = edit_video(source, target, tiny.method("e4e"), tiny.an_edit(), domain, follower=Finder)
print(report.edited, peak())
"""


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """10 and 30 seconds of 720p with a tone, in a process each."""
    peaks = []
    for frames in (40, 120):
        place = lambda index: (640 + 200 * np.sin(index / 9), 360.0, 160.0)  # noqa: E731
        source = write(tmp_path / f"{frames}.mp4", frames, place, (1280, 720), rate=4, tone=True)
        target = tmp_path / f"{frames}-edited.mp4"
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(source), str(target)],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        count, peak = map(int, done.stdout.split())
        assert count == frames == len(seen_times(target)) and heard(target) == heard(source)
        peaks.append(peak)
    assert peaks[1] < 2048 and peaks[1] < 1.1 * peaks[0], peaks


def seen_times(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [packet.pts for packet in container.demux(video=0) if packet.size]


# ---- in and out


def copied(source: Path, target: Path, quality: int = 0) -> None:
    """Through reading and writing and nothing else, in segments of ten frames."""
    clip, parts = open_clip(source), []
    form, segment = Format.of(clip, target, quality), None
    for still in clip.read():
        if still.index % 10 == 0:
            if segment is not None:
                segment.__exit__(None, None, None)
            parts.append((target.with_name(f"{still.index}.nut"), still.time))
            segment = Segment(parts[-1][0], clip, form).__enter__()
        segment.write(still)
    segment.__exit__(None, None, None)
    join(parts, clip, target, {})


@pytest.mark.parametrize("end", [".mp4", ".mov", ".mkv", ".webm"])
def test_times_and_sound_stay_in_every_container(end: str, tmp_path: Path) -> None:
    times = [0, 40, 80, 90, 200, 233, 266, 400, 410, 420, 500, 700, 701, 720, 900, 1000]  # a phone in the dark
    source, target = write(tmp_path / "a.mp4", 16, times=times, tone=True), tmp_path / f"b{end}"
    copied(source, target, quality=10)
    _, when = seen(target)
    start = when[0]
    assert [round(1000 * (moment - start)) for moment in when] == times
    with av.open(str(target)) as container:
        sound = container.streams.audio[0]
        assert sound.codec_context.name == ("opus" if end == ".webm" else "aac")
        lag = float(sound.start_time * sound.time_base - start)
        assert abs(lag + (0.0213 if end == ".mkv" else 0)) < 0.004  # the codec's own, which players know
        first = next(container.decode(sound))
        spectrum = np.abs(np.fft.rfft(np.concatenate([f.to_ndarray()[0] for f in container.decode(sound)][5:30])))
        assert abs(np.argmax(spectrum) / len(spectrum) * first.sample_rate / 2 - films.TONE) < 30
    if end != ".webm":
        assert heard(target)[0] == heard(source)[0]


TURNS = [(degrees, flip) for degrees in (0, 90, 180, 270) for flip in (False, True)]


@pytest.mark.parametrize("keeps", [True, False], ids=["as it says", "turned itself"])
@pytest.mark.parametrize("turned", TURNS, ids=str)
def test_a_turned_film_is_seen_upright_and_stays_turned(
    turned: tuple[float, bool], keeps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    degrees, flip = turned
    quarters = round(degrees / 90)

    def stored(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return np.asarray(np.rot90(picture[:, ::-1] if flip else picture, -quarters))

    source = write(tmp_path / "a.mp4", 3, lambda index: (60.0, 40.0, 40.0), (200, 120), turned=turned, stored=stored)
    monkeypatch.setattr(writing, "keeps_turn", lambda: keeps)
    copied(source, tmp_path / "b.mp4", quality=4)
    for path in (source, tmp_path / "b.mp4"):
        clip = open_clip(path)
        pixels = next(iter(clip.read())).pixels()
        assert clip.seen == (200, 120) and pixels.shape == (120, 200, 3)
        assert np.abs(pixels.astype(float) - drawn(200, 120, (60.0, 40.0, 40.0))).mean() < 3
        turn = clip.turn
        assert np.array_equal(turn.upright(turn.stored(pixels)), pixels)
    assert (open_clip(tmp_path / "b.mp4").turn == open_clip(source).turn) == (keeps or turned == (0, False))


def test_a_matrix_of_nonsense_turns_nothing() -> None:
    assert Turn.of((0,) * 9).quarters == 0 and not Turn.of((0,) * 9).flipped


@pytest.mark.parametrize("turned", [None, (90, False)], ids=["upright", "turned"])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv422p10le"])
def test_only_what_changed_is_encoded_anew(pixels: str, turned: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", 2, size=(192, 128), pixels=pixels, turned=turned)
    for still in open_clip(source).read():
        before = still.pixels()
        assert still.with_pixels(before.copy(), before) is still
        after = before.copy()
        after[31:62, 41:90] = (250, 20, 30)
        made = still.with_pixels(after, before)
        assert np.abs(made.pixels().astype(int) - after)[36:57, 46:85].max() <= 5
        box = np.array([[41, 31], [90, 62]] if turned is None else [[192 - 62, 41], [192 - 31, 90]])
        for old, new in zip(still.picture.planes, made.picture.planes):
            each = 1 + pixels.endswith("10le")
            lines = [np.frombuffer(plane, np.uint8).reshape(plane.height, -1) for plane in (old, new)]
            rows, columns = (lines[0][:, : each * old.width] != lines[1][:, : each * old.width]).nonzero()
            low, high = np.array([columns.min() // each, rows.min()]), np.array([columns.max() // each, rows.max()])
            scale = np.array([still.picture.width / old.width, still.picture.height / old.height])
            assert (low * scale > box[0] - 2).all() and (high * scale < box[1] + 2).all(), (low, high)
        assert np.array_equal(still.pixels(), before)  # the decoder's own frame is not written to


@pytest.mark.parametrize(("height", "space"), [(720, 1), (480, 6)])
def test_colours_are_those_that_the_file_means(height: int, space: int, tmp_path: Path) -> None:
    """Without a word of its own, a film of 720 lines and more is BT.709."""
    kr, kb = {1: (0.2126, 0.0722), 6: (0.299, 0.114)}[space]
    r, g, b = (value / 255 for value in films.SKIN)
    y = kr * r + (1 - kr - kb) * g + kb * b
    values = (16 + 219 * y, 128 + 112 * (b - y) / (1 - kb), 128 + 112 * (r - y) / (1 - kr))
    planes = np.concatenate([np.full(64 * height // n, round(v), np.uint8) for n, v in zip((1, 4, 4), values)]).reshape(
        -1, 64
    )
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        film = out.add_stream("libx264", rate=5, options={"crf": "0"})
        film.width, film.height, film.pix_fmt = 64, height, "yuv420p"
        out.mux(film.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        out.mux(film.encode(None))
    still = next(iter(open_clip(tmp_path / "a.mp4").read()))
    assert np.abs(still.pixels().reshape(-1, 3).mean(axis=0) - films.SKIN).max() < 1.5
    lighter = still.pixels() + np.linspace(1, 30, 64).astype(np.uint8)[:, None]  # a flat one has but one rounding
    assert abs(float((still.with_pixels(lighter, still.pixels()).pixels() - lighter.astype(float)).mean())) < 0.4


def test_ten_bits_and_odd_sides_are_kept(tmp_path: Path) -> None:
    deep = write(
        tmp_path / "deep.mp4",
        2,
        codec="libx265",
        pixels="yuv420p10le",
        size=(192, 128),
        **{"x265-params": "log-level=error"},
    )
    copied(deep, tmp_path / "b.mp4", quality=10)
    assert open_clip(tmp_path / "b.mp4").pixel_format == "yuv420p10le"
    odd = write(tmp_path / "odd.mp4", 2, pixels="yuv444p", size=(161, 121))
    copied(odd, tmp_path / "c.mp4")
    assert open_clip(tmp_path / "c.mp4").seen == (161, 121)
    assert np.array_equal(seen(odd)[0][1], seen(tmp_path / "c.mp4")[0][1])


# ---- hostile files


def refused(path: Path, target: Path | None = None) -> str:
    with pytest.raises(ValueError) as caught:
        edited(tiny_method(), path, target or path.with_name("out.mp4"))
    assert not path.with_name("out.mp4").exists() and not path.with_name(".out.mp4.gradstyle").exists()
    assert "\n" not in str(caught.value) and str(path if target is None else target) in str(caught.value)
    return str(caught.value)


def tiny_method() -> Method[Any]:
    return tiny.method("e4e")


def sound_alone(path: Path) -> None:
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))


def giant(path: Path, header: bool = True) -> None:
    """Frames that speak of 16,000 × 16,000 pixels, and a header that does or does not."""
    write(path, 3, codec="mjpeg", pixels="yuvj420p")
    data, at = bytearray(path.read_bytes()), 0
    while (at := data.find(b"\xff\xc0\x00\x11\x08", at) + 1) > 0:
        data[at + 4 : at + 8] = (16_000).to_bytes(2, "big") * 2
    if header:
        at = data.index(b"strf") + 8
        assert int.from_bytes(data[at + 4 : at + 8], "little") == 320
        data[at + 4 : at + 12] = (16_000).to_bytes(4, "little") * 2
    path.write_bytes(data)


def giant_inside(path: Path) -> None:
    """A picture of 30,000 × 30,000 pixels in 27 kB, as a film's only frame."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    write(path, 1, codec="png", pixels="rgb24", size=(64, 64))
    data = path.read_bytes()
    start = data.index(b"\x89PNG")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    old = data[start + 8 : start + 33]
    path.write_bytes(data.replace(old, header))


def changing(path: Path) -> None:
    """Two films of two sizes in one stream."""
    for name, size in (("one", (320, 240)), ("two", (160, 120))):
        write(path.with_name(f"{name}.ts"), 12, size=size, place=lambda index: (80.0, 60.0, 50.0))
    path.write_bytes(path.with_name("one.ts").read_bytes() + path.with_name("two.ts").read_bytes())


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing there": (lambda path: None, "there is no such file"),
    "a folder": (Path.mkdir, "it is no file"),
    "empty": (Path.touch, "not a video, or one that is cut off"),
    "text": (lambda path: path.write_text("dear diary\n" * 2000), "not a video, or one that is cut off"),
    "a picture": (lambda path: Image.new("RGB", (64, 64)).save(path, "PNG"), "not a video"),
    "sound alone": (sound_alone, "there is no video in it, only audio"),
    "cut off at its start": (
        lambda path: path.write_bytes(write(path.with_name("whole.mp4")).read_bytes()[:2000]),
        "not a video, or one that is cut off before its frames",
    ),
    "a playlist": (
        lambda path: path.write_text(f"#EXTM3U\n#EXTINF:1,\n{write(path.with_name('other.ts'))}\n#EXT-X-ENDLIST\n"),
        "not a video",
    ),
    "a list of other films": (
        lambda path: path.write_text(f"ffconcat version 1.0\nfile {write(path.with_name('other.mp4')).name}\n"),
        "not a video",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_film_says_so(kind: str, tmp_path: Path) -> None:
    make, message = HOSTILE[kind]
    make(tmp_path / "in.mp4")
    assert message in refused(tmp_path / "in.mp4")


def test_giants_and_changelings_are_refused(tmp_path: Path) -> None:
    giant(tmp_path / "giant.avi")
    assert "none of its frames can be decoded: cut off, damaged, or larger than 38 million" in refused(
        tmp_path / "giant.avi"
    )
    giant(tmp_path / "quiet.avi", header=False)
    assert "none of its frames can be decoded" in refused(tmp_path / "quiet.avi")
    giant_inside(tmp_path / "inside.mov")
    assert "none of its frames can be decoded" in refused(tmp_path / "inside.mov")
    changing(tmp_path / "both.ts")
    with pytest.raises(BadVideo, match="its size changes from 320×240 to 160×120 at frame 12: cut it there"):
        list(open_clip(tmp_path / "both.ts").read())


def test_a_torn_film_gives_what_it_has(e4e: Method[Any], tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mp4", 40, tone=True, movflags="faststart")
    with (
        av.open(str(whole)) as source,
        av.open(str(tmp_path / "front.mp4"), "w", options={"movflags": "faststart"}) as out,
    ):
        streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    data = (tmp_path / "front.mp4").read_bytes()
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(data[: len(data) * 2 // 3])
    report = edited(e4e, torn, tmp_path / "b.mp4")
    assert 10 < report.frames < 40 and report.frames + report.missing == 40
    assert len(seen(tmp_path / "b.mp4")[0]) == report.frames


def test_what_cannot_be_done_is_said_before_the_work(e4e: Method[Any], tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", 3)
    with pytest.raises(ValueError, match=r"b\.txt: no kind of video that is written; end the name in \.mp4"):
        edited(e4e, source, tmp_path / "b.txt")
    with pytest.raises(ValueError, match="is the source itself"):
        edited(e4e, source, source)
    with pytest.raises(ValueError, match="the video would stay as it is"):
        edited(e4e, source, tmp_path / "b.mp4", edit=0 * EDIT)
    with pytest.raises(ValueError, match="codes are smoothed over 0 to 2 seconds, got 3"):
        Options(codes=3)
    with pytest.raises(ValueError, match="got 70"):
        Options(quality=70)
    nobody = write(tmp_path / "nobody.mp4", 3, lambda index: None)
    with pytest.raises(ValueError, match=r"no face was found in any of its 3 frames; .* --aligned"):
        edited(e4e, nobody, tmp_path / "b.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "nobody.mp4"]


# ---- calm


def test_a_movement_is_followed_and_its_noise_is_not(rng: np.random.Generator) -> None:
    times = np.cumsum(rng.uniform(0.01, 0.06, 80))
    runs = np.zeros(80, int)
    curve = np.stack([3 + 2 * times - 5 * times**2, 40 * times], axis=1)
    np.testing.assert_allclose(smooth(curve, times, runs, 0.1), curve, atol=1e-8)  # to the ends, without a lag
    noisy = curve + rng.normal(0, 1, curve.shape)
    calm = smooth(noisy, times, runs, 0.1)
    assert np.std(calm - curve) < 0.7 * np.std(noisy - curve)
    assert np.std(departures(calm, runs)) < 0.35 * np.std(departures(noisy, runs))
    np.testing.assert_array_equal(smooth(noisy, times, runs, 0.0), noisy)
    for offsets in (times[:9] - times[4], times[:9] - times[0], times[:1] - times[0], times[:2] - times[1]):
        assert weights(offsets, 0.1).sum() == pytest.approx(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_nothing_is_mixed_over_a_cut_or_with_no_face() -> None:
    times, runs = np.arange(30) / 30, np.repeat([0, 10, -1, 20], [10, 10, 3, 7])
    values = np.where(runs == 0, 5.0, np.where(runs == 10, -100.0, np.where(runs < 0, np.nan, 8.0)))
    np.testing.assert_allclose(smooth(values, times, runs, 0.2), values, atol=1e-9)
    assert departures(values, runs).shape == (8 + 8 + 5,) and np.abs(departures(values, runs)).max() == 0


def faces_at(places: list[tuple[float, float, float] | None]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    known = np.array([place is not None for place in places])
    return np.array([(0, 0) + films.MARKS * 0 if p is None else p[:2] + films.MARKS * p[2] for p in places]), known


def test_a_face_is_one_until_a_cut_a_gap_or_a_leap() -> None:
    here: tuple[float, float, float] = (100.0, 100.0, 50.0)
    there: tuple[float, float, float] = (160.0, 100.0, 50.0)
    large: tuple[float, float, float] = (100.0, 100.0, 95.0)
    times = np.arange(40) / 20

    def runs(places: list[Any], cuts: tuple[int, ...] = (0,)) -> list[int]:
        landmarks, known = faces_at(places)
        return runs_of(landmarks, known, np.isin(np.arange(len(places)), cuts), times[: len(places)]).tolist()

    assert runs([here] * 4) == [0] * 4
    assert runs([None, here, None, None, here, None]) == [-1, 1, 1, 1, 1, -1]  # seen again soon: it was there
    assert runs([here, *[None] * 9, here]) == [0, *[-1] * 9, 10]  # not for half a second
    assert runs([here, here, here], (0, 2)) == [0, 0, 2]
    assert runs([here, None, here], (0, 1)) == [0, -1, 2]
    assert runs([here, there]) == [0, 1] and runs([here, large]) == [0, 1]


def test_a_gap_is_filled_on_a_line() -> None:
    times = np.array([0.0, 0.1, 0.4, 0.5, 0.6])
    values = np.array([[0.0], [10], [0], [0], [60]])
    known = np.array([True, True, False, False, True])
    filled = fill(values, known, times, np.array([0, 0, 0, 0, 0]))
    np.testing.assert_allclose(filled[:, 0], [0, 10, 40, 50, 60])


def test_cuts_are_seen_and_shaking_is_none(rng: np.random.Generator) -> None:
    first, second = (rng.integers(0, 255, (36, 200, 3)).astype(np.int16) for _ in range(2))
    cuts = Cuts()
    shaking = [cuts(first[:, 3 * shift : 3 * shift + 64] // 4) for shift in (0, 1, 2, 1, 3, 0, 2, 1)]
    assert shaking == [True] + [False] * 7
    assert [cuts(second[:, :64]), cuts(second[:, :64]), cuts(second[:, :64] + 3), cuts(first[:, :64])] == [
        True,
        False,
        False,
        True,
    ]
    flashes = Cuts()
    wild = [flashes((rng.integers(0, 255, (36, 64, 3))).astype(np.int16)) for _ in range(40)]
    assert sum(wild) < 40


def test_shaking_landmarks_make_less_flicker(e4e: Method[Any], tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", 20)
    report = edited(e4e, source, tmp_path / "b.mp4", lambda: Finder(shake=1.5))
    assert report.flicker["smoothed"] < 0.7 * report.flicker["frame by frame"]
    assert report.shaking["calm"] < 0.25 * report.shaking["found"]
    rough = edited(e4e, source, tmp_path / "c.mp4", lambda: Finder(shake=1.5), landmarks=0, codes=0)
    assert rough.flicker["smoothed"] == pytest.approx(rough.flicker["frame by frame"], rel=1e-3)
    assert rough.flicker["smoothed"] > 1.3 * report.flicker["smoothed"]


@pytest.mark.usefixtures("credulous")
def test_frames_without_a_face_pass_and_an_edit_comes_and_goes(e4e: Method[Any], tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", 36, lambda i: (160.0, 120.0, 80.0) if 10 <= i < 26 else None)
    report = edited(e4e, source, tmp_path / "b.mp4", quality=0)
    assert report.edited == 16 and report.frames == 36
    before, after = seen(source)[0], seen(tmp_path / "b.mp4")[0]
    change = [float(np.abs(new.astype(float) - old)[70:170, 120:200].mean()) for old, new in zip(before, after)]
    assert max(change[:10]) == max(change[26:]) == 0  # lossless: to the bit
    assert 0 < change[10] < change[11] < change[12] < 0.75 * change[18] > change[24] > change[25] > 0


def test_two_shots_are_two_faces(e4e: Method[Any], tmp_path: Path) -> None:
    """A cut between them: no fading, and neither moves because of the other."""
    place = lambda i: (100.0, 100.0, 70.0) if i < 8 else (220.0, 140.0, 100.0)  # noqa: E731
    source = write(tmp_path / "a.mp4", 16, place, shade=lambda i: 60 if i < 8 else 180)
    report = edited(e4e, source, tmp_path / "b.mp4")
    assert report.shots == 2 and report.edited == 16
    alone = write(tmp_path / "alone.mp4", 8, place, shade=lambda i: 60)
    edited(e4e, alone, tmp_path / "c.mp4")
    both, one = seen(tmp_path / "b.mp4")[0], seen(tmp_path / "c.mp4")[0]
    assert max(np.abs(both[i].astype(float) - one[i]).mean() for i in range(8)) < 1.5


def test_the_aligned_are_not_searched(e4e: Method[Any], tmp_path: Path) -> None:
    def nobody() -> Any:
        raise AssertionError("looked for a face")

    source = write(tmp_path / "a.mp4", 6, lambda i: (64.0, 64.0, 90.0), (128, 128))
    assert edited(e4e, source, tmp_path / "b.mp4", nobody, aligned=True).edited == 6
    cars = Domain("cars", (4, 3), "none")
    wide = write(tmp_path / "w.mp4", 6, lambda i: (64.0, 48.0, 60.0), (128, 96))
    report = edit_video(wide, tmp_path / "c.mp4", e4e, EDIT, cars, follower=nobody)
    change = np.abs(seen(tmp_path / "c.mp4")[0][3].astype(float) - seen(wide)[0][3])
    assert report.edited == 6 and change.mean() > 0.3


# ---- stopped, and gone on


def test_a_stopped_run_goes_on(e4e: Method[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "CHUNK", 10)
    source, target = write(tmp_path / "a.mp4", 26, tone=True), tmp_path / "b.mp4"
    edited(e4e, source, tmp_path / "straight.mp4")

    def run(stop: tuple[str, int] | None, edit: Edit = EDIT) -> tuple[VideoReport | None, int]:
        finder = Finder()

        def tell(what: str, done: int, total: int) -> None:
            if (what, done) == stop:
                raise KeyboardInterrupt

        try:
            report = edit_video(source, target, e4e, edit, FACES, tell=tell, follower=lambda: finder)
        except KeyboardInterrupt:
            return None, finder.looked
        return report, finder.looked

    assert run(("finding the face", 15)) == (None, 15)
    assert run(("finding the face", 23)) == (None, 13)  # ten were kept
    assert run(("editing", 5))[0] is None and run(("editing", 17)) == (None, 0)
    assert not target.exists() and (tmp_path / ".b.mp4.gradstyle").is_dir()
    report, looked = run(None)
    assert report is not None and looked == 0
    assert (report.frames, report.edited, report.went_on_from) == (26, 26, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "straight.mp4"]
    for one, other in zip(seen(target)[0], seen(tmp_path / "straight.mp4")[0], strict=True):
        assert np.abs(one.astype(float) - other).mean() < 0.1
    assert heard(target) == heard(source)
    target.unlink()
    assert run(("editing", 12))[0] is None
    report, looked = run(None, 2 * EDIT)  # another edit: from the start
    assert report is not None and (report.went_on_from, looked) == (0, 26)


def test_a_damaged_piece_is_done_again(e4e: Method[Any], tmp_path: Path) -> None:
    source, target = write(tmp_path / "a.mp4", 8), tmp_path / "b.mp4"

    def tell(what: str, done: int, total: int) -> None:
        if what == "editing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edit_video(source, target, e4e, EDIT, FACES, tell=tell, follower=Finder)
    kept = tmp_path / ".b.mp4.gradstyle"
    (kept / "faces-00000.safetensors").write_bytes(b"torn")
    assert edited(e4e, source, target).frames == 8


# ---- a person


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    data = pytest.importorskip("skimage.data")
    return Image.fromarray(data.astronaut())


def shifted(picture: Image.Image, x: float, y: float, zoom: float = 1.0) -> npt.NDArray[np.uint8]:
    """Her face in the middle of 480 × 360, moved by a part of a pixel."""
    coefficients = (1 / zoom, 0, 224 - (240 + x) / zoom, 0, 1 / zoom, 125 - (180 + y) / zoom)
    return np.asarray(picture.transform((480, 360), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC))


def test_a_person_is_followed_to_a_part_of_a_pixel(astronaut: Image.Image) -> None:
    searched: list[int] = []

    def find(pixels: npt.NDArray[np.uint8]) -> list[Face]:
        searched.append(pixels.shape[1])
        return find_faces(pixels)

    follow = Follower(find)
    path = [(6.3 * i, 4 * np.sin(i / 2)) for i in range(12)]
    faces = [follow(shifted(astronaut, x, y), cut=i == 0) for i, (x, y) in enumerate(path)]
    marks = np.array([face.landmarks - place for face, place in zip(faces, path) if face is not None])
    assert len(marks) == 12 and np.sqrt(np.square(marks - marks.mean(axis=0)).mean()) < 0.6
    assert searched == [480]  # the whole frame once
    once = find_faces(shifted(astronaut, 0, 0))[0]
    assert np.abs(marks.mean(axis=0) - once.landmarks).mean() < 1.5
    assert follow(np.full((360, 480, 3), 90, np.uint8)) is None  # she is gone
    again = follow(shifted(astronaut, -150, 20, 1.4), cut=True)
    assert again is not None and abs(again.landmarks[27:36, 0].mean() - 90) < 15


def test_a_person_in_a_film(astronaut: Image.Image, e4e: Method[Any], tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    with av.open(str(source), "w") as out:
        film = out.add_stream("libx264", rate=25)
        film.width, film.height, film.pix_fmt = 480, 360, "yuv420p"
        for index in range(12):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shifted(astronaut, 5 * index, 0)), format="rgb24")
            out.mux(film.encode(frame))
        out.mux(film.encode(None))
    report = edit_video(source, tmp_path / "b.mp4", e4e, EDIT, FACES)
    assert report.edited == report.frames == 12 and report.shaking["calm"] < 0.7 * report.shaking["found"]
    before, after = seen(source)[0], seen(tmp_path / "b.mp4")[0]
    for index, (old, new) in enumerate(zip(before, after)):
        change = np.abs(new.astype(float) - old).mean(axis=2)
        centre = 240 + 5 * index
        assert change[150:220, centre - 30 : centre + 30].mean() > 8 * change[300:].mean()


def turned_by(before: Points, after: Points) -> npt.NDArray[np.float64]:
    """The rotation between two meshes, as a vector in degrees."""
    return Rotation.from_matrix(Likeness.between(before, after).rotation).as_rotvec(degrees=True)


def test_what_an_edit_makes_of_a_head_is_calm_while_the_head_turns(rng: np.random.Generator) -> None:
    mesh = rng.normal(0, 30, (468, 3))
    poses = Rotation.from_euler("xy", np.stack([np.full(25, 20), np.linspace(-30, 30, 25)], axis=1), degrees=True)
    edit = Rotation.from_euler("y", 15, degrees=True)  # about the head's own axis
    pairs = [60 + np.stack([pose.apply(mesh), pose.apply(edit.apply(mesh))]) for pose in poses]
    noisy: list[Points | None] = [pair + rng.normal(0, 2, pair.shape) for pair in pairs]
    noisy[7] = None
    share = weights((np.arange(25) - 12) / 25, 0.4, degree=0)
    calm, found, truth = steadied(noisy, share, 12), noisy[12], turned_by(*pairs[12])
    assert calm is not None and found is not None
    assert np.linalg.norm(turned_by(*calm) - truth) < 0.5 * np.linalg.norm(turned_by(*found) - truth)
    assert np.linalg.norm(calm - pairs[12], axis=2).mean() < 0.4 * np.linalg.norm(found - pairs[12], axis=2).mean()
    assert steadied([None, None], share[:2], 0) is None
    lost = steadied([pairs[11], None, pairs[13]], share[:3], 1)  # not found here
    assert lost is not None and np.linalg.norm(turned_by(*lost) - truth) < 3


@pytest.mark.parametrize("name", ["smile", "yaw"])
def test_a_film_is_moved_by_meshes_that_do_not_tremble(
    name: str, astronaut: Image.Image, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, painted = tmp_path / "a.mp4", list[tuple[Photo, Aligned, Leg]]()
    with av.open(str(source), "w") as out:
        film = out.add_stream("libx264", rate=25, options={"crf": "12"})
        film.width, film.height, film.pix_fmt = 480, 360, "yuv420p"
        for index in range(10):
            picture = shifted(astronaut, 2 * index, 0) + rng.normal(0, 12, (360, 480, 3))
            frame = av.VideoFrame.from_ndarray(picture.round().clip(0, 255).astype(np.uint8), format="rgb24")
            out.mux(film.encode(frame))
        out.mux(film.encode(None))

    def paint(self: Painter, photo: Photo, crop: Aligned, legs: list[Leg]) -> Photo:
        painted.append((photo, crop, legs[0]))
        return photo

    monkeypatch.setattr(Painter, "paint", paint)
    monkeypatch.setattr(work, "PROBED", 0)
    load("faces", "e4e").edit_video(source, tmp_path / "b.mp4", {name: 1.5})
    crops, legs = [crop for _, crop, _ in painted], [leg for _, _, leg in painted]
    runs = np.zeros(len(crops), int)

    def trembles(meshes: list[Any]) -> float:
        return float(np.abs(departures(np.array(meshes), runs)).mean())

    faces = [(photo, crop.face) for photo, crop, _ in painted if crop.face is not None]
    assert len(faces) == 10
    found = [face_at(photo.pixels, face.landmarks).mesh for photo, face in faces]
    assert trembles([face.mesh for _, face in faces]) < 0.4 * trembles(found)
    change = [pair[1] - pair[0] for leg in legs if (pair := leg.meshes) is not None]
    alone = [pair[1] - pair[0] for leg, crop in zip(legs, crops) if (pair := meshes_of(leg, crop)) is not None]
    assert len(change) == len(alone) == 10 and trembles(change) < 0.4 * trembles(alone)
    assert np.allclose(np.mean(change, axis=0), np.mean(alone, axis=0), atol=1.0)  # pixels of 120: as large as ever


def test_what_it_stands_on_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"pip install 'gradstyle\[video\]'"):
        open_clip(tmp_path / "a.mp4")


def test_landmarks_that_are_no_face_are_passed_over(e4e: Method[Any], tmp_path: Path) -> None:
    class Mistaken(Finder):
        def __call__(self, pixels: npt.NDArray[np.uint8], cut: bool = False) -> Face | None:
            face = super().__call__(pixels, cut)
            place = np.array([50_000.0, 0.0]) if self.looked == 3 else np.zeros(2)
            return face and Face(face.box, face.landmarks + place, face.score)

    source = write(tmp_path / "a.mp4", 6)
    report = edited(e4e, source, tmp_path / "b.mp4", Mistaken, quality=0)
    assert (report.frames, report.edited) == (6, 5)
    assert np.array_equal(seen(source)[0][2], seen(tmp_path / "b.mp4")[0][2])


@pytest.mark.parametrize(("frames", "size"), [(1, (128, 128)), (3, (16, 16)), (2, (2, 2))], ids=str)
def test_the_smallest_films(frames: int, size: tuple[int, int], e4e: Method[Any], tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", frames, lambda index: None, size)
    assert edited(e4e, source, tmp_path / "b.mp4", aligned=True).edited == len(seen(tmp_path / "b.mp4")[0]) == frames
    with pytest.raises(ValueError, match="no face was found"):
        edited(e4e, source, tmp_path / "c.mp4", Follower)


@pytest.mark.parametrize("name", ["gradmove", "gradstyle", "styleres", "sdic", "hfgi"])
def test_every_method_edits_films(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", 4, lambda index: (64.0, 64.0, 90.0), (128, 128))
    assert edited(tiny.method(name), source, tmp_path / "b.mp4", aligned=True).edited == 4
    change = np.abs(seen(tmp_path / "b.mp4")[0][2].astype(float) - seen(source)[0][2])
    assert change.mean() > 1
