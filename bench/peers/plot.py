# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG, by hand: what two kinds of figure need is less than a library.

They have a white ground of their own, so that they can be read on any page.
"""

from dataclasses import dataclass
from html import escape

WIDTH, LABEL, RIGHT, ROW, TOP = 860, 300, 70, 18, 46
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
GREY, INK = "#999999", "#222222"


@dataclass(frozen=True)
class Bar:
    label: str
    value: float
    least: float
    most: float
    text: str
    colour: str = COLOURS[0]


def _text(x, y, words, anchor="start", size=12, colour=INK, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
            f'font-size="{size}" fill="{colour}" font-weight="{weight}">'
            f'{escape(words)}</text>')


def _rect(x, y, width, height, colour):
    return (f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" '
            f'height="{height:.1f}" fill="{colour}"/>')


def _line(x1, y1, x2, y2, colour=GREY, dash=""):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{colour}"'
            + (f' stroke-dasharray="{dash}"' if dash else "") + "/>")


def _whole(height, title, parts):
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
        f'height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}" '
        'font-family="sans-serif">',
        f"<title>{escape(title)}</title>",
        _rect(0, 0, WIDTH, height, "#ffffff"),
        _text(12, 24, title, size=15, weight="bold"), *parts, "</svg>", ""])


def bars(title, groups, mark=None):
    """Horizontal bars with whiskers from least to most.

    ${groups}: [(heading, [Bar, ...])], each group to its own scale unless
    ${mark} is given, a value at which a line is drawn through all of them.
    """
    parts, y = [], TOP
    room = WIDTH - LABEL - RIGHT
    for heading, rows in groups:
        if not rows:
            continue
        most = max(max(bar.most for bar in (
            [b for _, some in groups for b in some] if mark else rows)),
            mark or 0) or 1
        parts.append(_text(12, y + 12, heading, weight="bold"))
        y += ROW
        for bar in rows:
            middle = y + ROW / 2
            parts += [
                _text(LABEL - 8, middle + 4, bar.label, "end", 11),
                _rect(LABEL, y + 3, room * bar.value / most, ROW - 6,
                      bar.colour),
                _line(LABEL + room * bar.least / most, middle,
                      LABEL + room * bar.most / most, middle, INK),
                _text(LABEL + room * max(bar.most, bar.value) / most + 6,
                      middle + 4, bar.text, size=11)]
            y += ROW
        if mark:
            x = LABEL + room * mark / most
            parts.append(_line(x, y - ROW * len(rows), x, y, INK, "4 3"))
        y += ROW / 2
    return _whole(y + 8, title, parts)


@dataclass(frozen=True)
class Span:
    row: str
    begin_s: float
    end_s: float
    colour: str


def timeline(title, groups, legend):
    """Spans on a common axis of seconds.

    ${groups}: [(heading, [Span, ...])]; rows of a group are in the order in
    which they appear first.  ${legend}: {words: colour}.
    """
    parts, y, label = [], TOP, 130
    room = WIDTH - label - RIGHT
    most = max(s.end_s for _, spans in groups for s in spans)
    x = 12.0
    for words, colour in legend.items():
        parts += [_rect(x, y - 8, 12, 12, colour), _text(x + 18, y + 2, words)]
        x += 40 + 7 * len(words)
    y += 16
    for heading, spans in groups:
        parts.append(_text(12, y + 12, heading, weight="bold"))
        y += ROW
        for row in dict.fromkeys(s.row for s in spans):
            parts.append(_text(label - 8, y + 13, row, "end", 11))
            parts += [
                _rect(label + room * s.begin_s / most, y + 3,
                      room * (s.end_s - s.begin_s) / most - 0.6, ROW - 6,
                      s.colour) for s in spans if s.row == row]
            y += ROW
        end = max(s.end_s for s in spans)
        parts.append(_text(label + room * end / most + 6, y - 5,
                           f"{end:.2f} s", size=11))
        y += ROW / 2
    parts.append(_line(label, y, label + room, y, INK))
    for i in range(5):
        x = label + room * i / 4
        parts += [_line(x, y, x, y + 4, INK),
                  _text(x, y + 18, f"{most * i / 4:.1f} s", "middle", 11)]
    return _whole(y + 28, title, parts)
