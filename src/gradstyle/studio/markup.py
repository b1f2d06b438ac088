"""Texts of the page as HTML. Whatever comes from a visitor is escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from .export import PhotoOutcome


def escaped(text: str) -> str:
    return html.escape(text)


def remarks(*notes: str) -> str:
    return "".join(f'<p role="status">{escaped(note)}</p>' for note in notes if note)


def failure(error: BaseException) -> str:
    return f'<p class="gs-wrong" role="alert">{escaped(str(error) or type(error).__name__)}</p>'


def comparison_figure(row: Mapping[str, Any], told: str) -> str:
    method = escaped(row["method"])
    return (
        f'<figure><div class="gs-two"><img src="{row["plain"]}" alt="{method}: the face without edits">'
        f'<img src="{row["edited"]}" alt="{method}: {escaped(told)}"></div>'
        f"<figcaption><b>{method}</b>{row['error']:.1f} dB to the photo · {row['render'] * 1000:.0f} ms a render"
        f"</figcaption></figure>"
    )


def batch_report(outcomes: Sequence[PhotoOutcome], of: int) -> str:
    failed = [outcome for outcome in outcomes if outcome.error]
    done = len(outcomes) - len(failed)
    left = f", {of - len(outcomes)} not begun" if of > len(outcomes) else ""
    rows = "".join(f"<tr><td>{escaped(each.name)}</td><td>{escaped(each.error)}</td></tr>" for each in failed)
    table = f'<table class="gs-report"><tr><th>Photo</th><th>Why it failed</th></tr>{rows}</table>' if failed else ""
    remarked = "".join(
        f"<tr><td>{escaped(each.name)}</td><td>{escaped(each.remark)}</td></tr>" for each in outcomes if each.remark
    )
    table += (
        f'<table class="gs-report"><tr><th>Photo</th><th>Look at it</th></tr>{remarked}</table>' if remarked else ""
    )
    return f'<p role="status">{done} of {of} photos edited{left}.</p>{table}'
