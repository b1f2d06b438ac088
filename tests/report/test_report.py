"""A run's page, Markdown and JSON: they say what the run's folder says, and nothing in a name does anything."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from gradstyle.evaluation.store import SOURCE, Failure, Picture, RunFolder, Summary
from gradstyle.methods import METHODS
from gradstyle.metrics.values import Row
from gradstyle.report import pictures
from gradstyle.report.content import Report
from gradstyle.report.report import write_report
from gradstyle.report.texts import decimals, figure, probability
from tests.support import example_run
from tests.support.example_run import HOSTILE, KINDS, STRENGTH
from tests.support.pages import Tree

LOADING = {"src", "href", "srcset", "action", "data", "poster", "xlink:href", "formaction", "background"}


def tree_of(run: RunFolder) -> Tree:
    return Tree(write_report(run.path).read_text("utf-8"))


@pytest.fixture(scope="module", params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = example_run.write(tmp_path_factory.mktemp(request.param) / "run", request.param, count=24)
    assert write_report(run.path) == run.path / "report.html"
    return run


@pytest.fixture(scope="module")
def html(run: RunFolder) -> str:
    return (run.path / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def tree(html: str) -> Tree:
    return Tree(html)


def test_every_figure_of_the_page_is_the_stores(run: RunFolder, tree: Tree) -> None:
    wanted = {(r.condition, r.method, r.metric): r for r in run.summary().rows}
    titles = {metric.title: metric.name for metric in example_run.METRICS}
    found = {}
    for attributes, (head, *body) in tree.tables:
        if "data-condition" in attributes:
            for name, *cells in body:
                for title, cell in zip(head[1:], cells):
                    metric = next(titles[t] for t in titles if title["text"].startswith(t))
                    found[attributes["data-condition"], name["data-value"], metric] = cell
    assert found.keys() == wanted.keys()
    report = Report.read(run)
    for key, cell in found.items():
        row = wanted[key]
        assert float(cell["data-value"]) == row.mean  # to the last digit
        assert ("★" in cell["text"]) is row.best and (cell.get("class") == "best") is row.best
        assert ("≈" in cell["text"]) is (row.p is not None and row.p >= 0.05)
        if row.p is not None:
            assert probability(row.p) in cell["text"]
        digits = report.decimals(row.metric)
        assert cell["text"].startswith(f"{figure(row.mean, digits)} ")
        assert f"{figure(row.low, digits)} … {figure(row.high, digits)}" in cell["text"]


def test_tables_over_all_conditions_hold_the_same_figures(run: RunFolder, tree: Tree) -> None:
    wanted = Counter(r.mean for r in run.summary().rows)
    found = Counter(
        float(cell["data-value"])
        for attributes, (_, *body) in tree.tables
        if "data-overview" in attributes
        for _, *cells in body
        for cell in cells
    )
    assert found == (wanted if len(KINDS[run.record().kind]) > 1 else Counter())


def test_markdown_and_json_hold_them_too(run: RunFolder) -> None:
    said = json.loads((run.path / "report.json").read_text("utf-8"))
    rows = {(r["method"], r["condition"], r["metric"]): r for r in said["rows"]}
    text = (run.path / "report.md").read_text("utf-8")
    report = Report.read(run)
    for row in run.summary().rows:
        written = rows[row.method, row.condition, row.metric]
        for name in ("mean", "low", "high", "p", "best", "n"):
            assert written[name] == getattr(row, name)
        digits = report.decimals(row.metric)
        assert f"{figure(row.mean, digits)} ★** [" in text if row.best else f"{figure(row.mean, digits)} " in text
    assert said["provenance"]["bundle"]["fingerprint"] == "9f2c" * 16 and "9f2c" * 16 in text
    assert [f["photo"] for f in said["failures"]] == ["broken<b>.jpg", "000099.jpg"]
    widths = [line.count("|") - line.count("\\|") for line in text.splitlines() if line.startswith("|")]
    headings = [m.end() for m in re.finditer(r"^\|[ -:|]+\|$", text, re.MULTILINE)]
    assert headings and min(widths) >= 3
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        # as many cells in each line
        assert len({line.count("|") - line.count("\\|") for line in block.splitlines()}) == 1


def test_ends_are_the_least_and_the_greatest(run: RunFolder) -> None:
    report = Report.read(run)
    for metric in example_run.METRICS:
        for condition in KINDS[run.record().kind]:
            values = report.values.get(("sdic", condition, metric.name))
            if values is None:
                continue
            worst, best = report.ends("sdic", condition, metric)
            ordered = sorted(values.values(), reverse=metric.better != "lower")  # the best first
            count = min(10, len(values) // 2)
            assert [v for _, v in best] == ordered[:count] and [v for _, v in worst] == ordered[::-1][:count]
            assert all(values[photo] == value for photo, value in worst + best)


def test_the_page_loads_nothing(html: str, tree: Tree) -> None:
    assert html.startswith("<!DOCTYPE html>")
    for tag, attributes in tree.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "audio", "video", "foreignobject"), tag
        for name in LOADING & attributes.keys():
            assert attributes[name].startswith(("data:image/webp;base64,", "#")), (tag, name)
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        assert not any("://" in value for value in attributes.values())
    style, script = ("".join(tree.said(tag)) for tag in ("style", "script"))
    assert not re.search(r"url\(|@import|@font-face|://|expression\(", style)
    assert not re.search(r"fetch\(|XMLHttp|WebSocket|import\(|eval\(|innerHTML|document\.write|://", script)


def test_its_policy_allows_its_own_script_alone(html: str, tree: Tree) -> None:
    (policy,) = [a["content"] for a in tree.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for rule, pattern in (("script-src", r"<script>(.*?)</script>"), ("style-src", r"<style>(.*?)</style>")):
        (text,) = re.findall(pattern, html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_markup_in_names_is_text(tmp_path: Path) -> None:
    """Names of photos, methods, conditions, edits and bundles, and the reasons of failures, all of them hostile."""
    evil = HOSTILE.replace(".jpg", "=+1")
    found = {(evil, evil, "identity"): {photo: 0.1 * i for i, photo in enumerate(example_run.names(3))}}
    run = example_run.write(
        tmp_path / "run",
        count=3,
        found=found,
        methods=(evil,),
        conditions=(evil,),
        bundle={"name": HOSTILE, HOSTILE: HOSTILE},
        data={"name": HOSTILE, "split": HOSTILE},
        failures=(Failure(HOSTILE, HOSTILE, HOSTILE),),
        command=HOSTILE,
    )
    agreement = ({HOSTILE: HOSTILE},)
    curve = example_run.Curve(evil, evil, evil, (0.0, 1.0), (0.5, 0.2), 0.3, 1.0)
    run.write_summary(Summary(HOSTILE, HOSTILE, run.summary().rows, (curve,), agreement, (HOSTILE,)))
    run.write_costs({evil: {HOSTILE: 1.0}})
    text = write_report(run.path).read_text("utf-8")
    tree = Tree(text)
    assert [tag for tag, _ in tree.tags].count("script") == 2
    assert not any(a.get("src") == "x" or "onerror" in a for _, a in tree.tags)
    assert not re.search(r"<script>alert|<img src=x", text)
    data = json.loads(next(text for tag, text in tree.texts if tag == "script"))
    assert data["photos"][1] == HOSTILE and data["methods"][0] == evil
    assert sum(HOSTILE in text for text in tree.said("td") + tree.said("code") + tree.said("h1")) >= 4
    assert "<" not in re.sub(r"\\[<>&]|```.*?```", "", (run.path / "report.md").read_text("utf-8"))


def test_html_is_in_order(tree: Tree) -> None:
    ids = Counter(a["id"] for _, a in tree.tags if "id" in a)
    assert max(ids.values()) == 1
    anchors = [a["href"] for a in tree.all("a")]
    assert anchors and all(anchor.removeprefix("#") in ids for anchor in anchors)
    assert all("alt" in a for a in tree.all("img"))
    assert len(tree.all("h1")) == 1
    assert {tag for tag, _ in tree.tags} >= {"html", "head", "title", "body", "main", "table", "svg"}


def test_every_plot_is_well_formed(run: RunFolder, html: str) -> None:
    drawn = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    for text in drawn:
        assert ElementTree.fromstring(text).tag == "svg"
        assert not re.search(r'="[^"]*\b(nan|inf)\b', text)
    cells = [cell for table in Report.read(run).tables() for _, row in table.rows for cell in row]
    assert html.count('<g class="strip ') == sum(cell.value is not None for cell in cells)
    assert html.count('<g class="curve ') == len(run.summary().curves)


def test_each_picture_is_in_it_once_and_is_the_runs(run: RunFolder, tree: Tree) -> None:
    drawn = [a for a in tree.all("img") if "src" in a]
    shown = {(a["alt"].split(", ")[0], a["data-method"], a["data-at"]): a["src"] for a in drawn}
    assert len(shown) == len([a for t, a in tree.tags if "src" in a]) == len(run.record().pictures)
    for picture in run.record().pictures:
        encoded = shown[picture.photo, picture.method, picture.condition].partition(",")[2]
        (run.path / "again.webp").write_bytes(base64.b64decode(encoded))
        with Image.open(run.path / "again.webp") as again, Image.open(run.path / picture.file) as first:
            assert again.size == first.size
            assert np.array_equal(np.asarray(again.convert("RGB")), np.asarray(first))  # so few need no loss


def test_failures_and_provenance_are_all_there(run: RunFolder, tree: Tree) -> None:
    texts = set(tree.said("td") + tree.said("th") + tree.said("code"))
    assert {"broken<b>.jpg", "every method", "cut short", "000099.jpg", "out of memory"} <= texts
    assert {"9f2c" * 16, "cd" * 32, "ab" * 32, "parts.generator", "2.13.0", run.record().command} <= texts
    assert "1 photo was left out" in tree.said("li")


def test_the_same_run_gives_the_same_files(run: RunFolder, html: str, tmp_path: Path) -> None:
    before = {name: (run.path / name).read_bytes() for name in ("report.md", "report.json")}
    shutil.copytree(run.path, tmp_path / "run")
    assert write_report(tmp_path / "run").read_text("utf-8") == html
    assert {name: (tmp_path / "run" / name).read_bytes() for name in before} == before


def test_pictures_that_do_not_fit_stay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = example_run.write(tmp_path / "run", count=6, drawn=6)
    sizes = []
    for most in (8 << 20, 20_000, 100):
        monkeypatch.setattr(pictures, "PICTURE_BYTES", most)
        tree = tree_of(run)
        sources = [a["src"] for a in tree.all("img") if "src" in a]
        assert sum(map(len, sources)) <= most and len(sources) % 6 == 0  # a photo with all its pictures, or not at all
        sizes.append(len(sources))
    assert sizes[0] == 36 > sizes[1] > sizes[2] == 0
    monkeypatch.setattr(pictures, "SHEET_PHOTOS", 2)
    monkeypatch.setattr(pictures, "PICTURE_BYTES", 8 << 20)
    assert "2 of 6 photos" in write_report(run.path).read_text("utf-8")


def test_a_run_of_pictures_alone(tmp_path: Path) -> None:
    run = example_run.write(tmp_path / "run", "editing", count=2, found={}, described="residuals")
    run.write_costs({})
    tree = tree_of(run)
    assert not tree.tables and len([a for t, a in tree.tags if t == "img" and "src" in a]) == 2 + 2 * 3 * 5
    assert "Results" not in tree.said("a") and "Pictures" in tree.said("a")


def test_values_that_are_no_numbers_do_not_spoil_it(tmp_path: Path) -> None:
    found = example_run.values("reconstruction", 8)
    photo = example_run.names(8)[0]
    found["gradstyle", "", "psnr"][photo] = inf
    found["e4e", "", "l2"][photo] = nan
    run = example_run.write(tmp_path / "run", count=8, found=found)
    odd = Row("gradstyle", "", "frechet", None, None, None, 0, missing=8)
    run.write_summary(Summary(rows=(*run.summary().rows, odd, Row("e4e", "", "frechet", 12.5, None, None, 8))))
    tree = tree_of(run)
    cells = {cell["text"].strip() for _, rows in tree.tables for row in rows for cell in row}
    assert any(cell.startswith("∞") for cell in cells) and "–" in cells and any(c.startswith("12.5") for c in cells)
    json.loads(next(text for tag, text in tree.texts if tag == "script"))
    report = json.loads((run.path / "report.json").read_text("utf-8"))
    assert next(r for r in report["rows"] if (r["method"], r["metric"]) == ("gradstyle", "psnr"))["mean"] is None


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    run = example_run.write(tmp_path / "run", complete=False)
    assert "not complete" in write_report(run.path).read_text("utf-8")
    with pytest.raises(ValueError, match="is no run of `gradstyle evaluate`"):
        write_report(tmp_path)


def test_pictures_that_are_gone_are_left_out(tmp_path: Path) -> None:
    run = example_run.write(tmp_path / "run", pictures=(Picture("a.jpg", "source", "", "pictures/none.png"),))
    assert "Side by side" not in write_report(run.path).read_text("utf-8")


def test_findings_say_who_is_best_and_how_surely(tmp_path: Path) -> None:
    def said(*rows: Row, kind: str = "reconstruction") -> list[tuple[str, str]]:
        run = example_run.write(tmp_path / f"{len(list(tmp_path.iterdir()))}", kind, count=3)
        run.write_summary(Summary(rows=rows))
        return Report.read(run).findings()

    first = Row("gradstyle", "", "identity", 0.9, 0.8, 1.0, 3, best=True)
    behind = Row("e4e", "", "identity", 0.5, 0.4, 0.6, 3, p=0.001)
    close = Row("sdic", "", "identity", 0.89, 0.4, 0.6, 3, p=0.3)
    assert said(first, behind) == [("gradstyle", "is clearly the best by Identity.")]
    assert said(first, close) == [("gradstyle", "has the best Identity, not told apart from sdic.")]
    assert said(first, replace(close, p=None)) == [("gradstyle", "has the best Identity, which is not tested.")]
    assert said(first) == []  # alone it is no best
    smile = [replace(row, condition="smile=+2") for row in (first, behind)]
    assert said(first, replace(behind, p=0.2), *smile, kind="editing") == [
        ("gradstyle", "is the best in 2 of 2 columns, clearly in 1.")
    ]
    matched = [
        Row(name, "smile=matched:0.5 sd", "identity", value, 0.4, 1.0, 3, p=p, best=name == "e4e")
        for name, value, p in (("e4e", 0.7, None), ("gradstyle", 0.6, 0.001))
    ]
    assert said(first, *smile, *matched, kind="editing") == [
        ("e4e", "is the best in 1 of 1 columns at equal change, clearly in 1.")
    ]  # who changes little is the best where changes are not equal, which counts for nothing


def test_identity_stands_beside_how_far_the_edit_went(tmp_path: Path) -> None:
    protocol = {"edits": {"smile": {"change": "mesh_mouth"}, "age": {}}}
    named = {"mesh_mouth": "Mouth's curve", "judge_change": "Change"}
    metrics = (*example_run.METRICS[:2], *(example_run.Metric(*each) for each in named.items()))
    stated = {"protocol": protocol, "metrics": metrics, "conditions": ("", "smile=+2", "age=+2")}
    run = example_run.write(tmp_path / "run", "editing", count=3, drawn=0, **stated)
    rows = [
        Row(name, where, metric, value, None, None, 3)
        for name, value in (("gradstyle", 0.9), ("e4e", 0.7))
        for where, metric in (
            *[("", "identity"), ("smile=+2", "identity"), ("smile=+2", "mesh_mouth"), ("smile=+2", "judge_change")],
            *[("age=+2", "identity"), ("age=+2", "judge_change"), ("smile=matched:0.5 sd", "identity")],
            *[("smile=+2", "l2"), ("age=+2", "l2")],
        )
    ]
    run.write_summary(Summary(rows=tuple(rows)))
    tables = {table.title: [column.title for column in table.columns] for table in Report.read(run).overviews()}
    assert tables["Identity"] == ["no edit", "smile +2", "smile +2: Mouth's curve", "age +2", "age +2: Change"]
    assert tables["L2"] == ["smile +2", "age +2"]
    assert tables["Identity at matched change"] == ["smile at 0.5 sd"]


CONDITIONS = {
    "": "no edit",
    "vanishing": "a vanishing edit",
    "smile=+2": "smile +2",
    "smile=-0.5": "smile −0.5",
    "age=matched:-1.5": "age at −1.5 sd",
    "smile=area:-": "smile −, area",
    "stage 1, smile=+2": "stage 1, smile +2",
    "yaw=matched:-10°": "yaw at −10°",
    "age=matched:5 years": "age at 5 years",
    "yaw=area:+4.85°": "yaw +, area to 4.85°",
    "smile=area:-0.4 sd": "smile −, area to 0.4 sd",
}


def test_conditions_have_names(tmp_path: Path) -> None:
    report = Report.read(example_run.write(tmp_path / "run", "editing", count=3, drawn=0, protocol={"fixed": -2}))
    assert {name: report.named(name) for name in CONDITIONS} == CONDITIONS
    assert report.first_condition == "smile=-2"
    tables = [table.title for table in report.overviews()]
    assert tables[:3] == ["Identity", "Identity at matched change", "Identity, area under the curve"]


def test_stages_of_one_method_stand_side_by_side(tmp_path: Path) -> None:
    """Where a run has one method, what differs are its conditions."""
    conditions = ("stage 0", "stage 1", "stage 2")
    found = {
        ("gradstyle", c, "l2"): dict.fromkeys(example_run.names(3), 0.5 - i / 10) for i, c in enumerate(conditions)
    }
    run = example_run.write(tmp_path / "run", count=3, found=found, methods=("gradstyle",), conditions=conditions)
    drawn = [p for p in run.record().pictures if p.method == SOURCE]
    for photo in example_run.names(3)[:2]:
        for i, condition in enumerate(conditions):
            drawn.append(Picture(photo, "gradstyle", condition, f"pictures/{len(drawn)}.png"))
            example_run.face(0, smile=i).save(run.path / drawn[-1].file)
    run.write_record(replace(run.record(), pictures=tuple(drawn)))
    tree = tree_of(run)
    (sheet,) = [a for a in tree.all("div") if "sheet" in a.get("class", "")]
    assert "data-condition" not in sheet
    shown = [a["data-method"] for a in tree.all("img") if "data-at" in a]
    assert shown == [SOURCE, *conditions] * 2
    data = json.loads(next(text for tag, text in tree.texts if tag == "script"))
    assert data["columns"] == list(conditions) and data["shown"][""]["0"]["stage 2"][1] == pytest.approx(0.3)


def test_only_the_runs_own_pictures_are_shown(tmp_path: Path) -> None:
    example_run.face(0).save(tmp_path / "secret.png")
    run = example_run.write(tmp_path / "run", count=3)
    kept = run.record().pictures[0]
    for file in ("../secret.png", str(tmp_path / "secret.png"), "pictures/../../secret.png"):
        run.write_record(replace(run.record(), pictures=(kept, Picture("x", "e4e", "", file))))
        tree = tree_of(run)
        assert not [a for a in tree.all("img") if a.get("data-method") == "e4e" and "src" in a]


def test_figures_have_the_digits_that_intervals_allow() -> None:
    assert decimals([Row("m", "", "x", 0.8, 0.79, 0.81, 9)]) == 3  # ± 0.010
    assert decimals([Row("m", "", "x", 0.8, 0.74, 0.86, 9)]) == 2  # ± 0.06
    assert decimals([Row("m", "", "x", 20.0, 10.0, 900.0, 9)]) == 0
    assert decimals([Row("m", "", "x", 0.05, None, None, 9)]) == 4
    assert decimals([Row("m", "", "x", 0.0, 0.0, 0.0, 9)]) <= 2
    figures = [figure(v, 2) for v in (-0.125, inf, nan, None, 1234.5, -0.001)]
    assert figures == ["−0.12", "∞", "–", "–", "1,234.50", "0.00"]
    assert [probability(p) for p in (0.0001, 0.04, 0.5, 1.0)] == ["p < .001", "p = .040", "p = .500", "p = 1.000"]


def test_every_method_has_its_colour(tmp_path: Path) -> None:
    report = Report.read(example_run.write(tmp_path / "run"))
    assert [report.colour(name) for name in STRENGTH] == [[*METHODS].index(name) for name in STRENGTH]
    variants = Report.read(example_run.write(tmp_path / "ablation", found={(n, "", "l2"): {"a": 1.0} for n in "pqr"}))
    assert [variants.colour(name) for name in "pqr"] == [9, 10, 11]  # after those of the baselines
