# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG, by hand: what two kinds of figure need is less than a library.

They have a white ground of their own, so that they can be read on any page.
"""

from dataclasses import dataclass
from html import escape

WIDTH, LABEL, RIGHT, ROW, TOP = 860, 300, 70, 18, 46
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
GREY, INK = "#999999", "#222222"
GAP, DIGIT = 6, 7  # between a bar and its figure; no digit is wider


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


def _beside(x, words, mark_x):
    """Where words that would begin at ${x} are not crossed by the mark."""
    ends = x + DIGIT * len(words)
    return mark_x + GAP if mark_x is not None and x - GAP < mark_x < ends \
        else x


def bars(title, groups, about, mark=None):
    """Horizontal bars with whiskers from least to most.

    ${groups}: [(heading, [Bar, ...])], each group to its own scale unless
    ${mark} is given, a value at which a line is drawn through all of them.
    ${about} says what bar and whiskers are.
    """
    scale = "" if mark else "; each group has its own scale"
    parts, y = [_text(12, TOP - 4, f"{about}{scale}", size=11)], TOP + ROW
    room = WIDTH - LABEL - RIGHT
    for heading, rows in groups:
        if not rows:
            continue
        most = max(max(bar.most for bar in (
            [b for _, some in groups for b in some] if mark else rows)),
            mark or 0) or 1
        mark_x = LABEL + room * mark / most if mark else None
        parts.append(_text(12, y + 12, heading, weight="bold"))
        y += ROW
        for bar in rows:
            middle = y + ROW / 2
            words_x = LABEL + room * max(bar.most, bar.value) / most + GAP
            parts += [
                _text(LABEL - 8, middle + 4, bar.label, "end", 11),
                _rect(LABEL, y + 3, room * bar.value / most, ROW - 6,
                      bar.colour),
                _line(LABEL + room * bar.least / most, middle,
                      LABEL + room * bar.most / most, middle, INK),
                _text(_beside(words_x, bar.text, mark_x), middle + 4,
                      bar.text, size=11)]
            y += ROW
        if mark:
            parts.append(_line(
                mark_x, y - ROW * len(rows), mark_x, y, INK, "4 3"))
        y += ROW / 2
    return _whole(y + 8, title, parts)


@dataclass(frozen=True)
class Span:
    row: str
    begin_s: float
    end_s: float
    colour: str


def _lanes(spans, slack_s):
    """Spans in as few lists as there is none that overlaps another by more."""
    lanes = []
    for span in sorted(spans, key=lambda s: s.begin_s):
        free = next((lane for lane in lanes
                     if lane[-1].end_s <= span.begin_s + slack_s), None)
        if free is None:
            lanes.append(free := [])
        free.append(span)
    return lanes


def _row(spans, label, y, px_per_s):
    """The spans of a row, those that overlap above each other."""
    lanes = _lanes(spans, 1 / px_per_s)
    height = (ROW - 6) / len(lanes)
    return [_rect(label + px_per_s * s.begin_s, y + 3 + i * height,
                  px_per_s * (s.end_s - s.begin_s) - 0.6,
                  height - (0.6 if len(lanes) > 1 else 0), s.colour)
            for i, lane in enumerate(lanes) for s in lane]


def _axis(label, y, px_per_s, most_s):
    """Seconds, at most ten of them or of 2, 5, 10 ... of them."""
    step = next(10 ** e * n for e in range(-3, 9) for n in (1, 2, 5)
                if most_s / (10 ** e * n) <= 10)
    parts = [_line(label, y, label + px_per_s * most_s, y, INK)]
    for i in range(int(most_s / step) + 1):
        x = label + px_per_s * step * i
        parts += [_line(x, y, x, y + 4, INK),
                  _text(x, y + 18, f"{step * i:g} s", "middle", 11)]
    return parts


def timeline(title, groups, legend):
    """Spans on a common axis of seconds.

    ${groups}: [(heading, [Span, ...])]; rows of a group are in the order in
    which they appear first.  ${legend}: {words: colour}.
    """
    parts, y, label = [], TOP, 130
    most_s = max(s.end_s for _, spans in groups for s in spans)
    px_per_s = (WIDTH - label - RIGHT) / most_s
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
            parts += _row([s for s in spans if s.row == row], label, y,
                          px_per_s)
            y += ROW
        end_s = max(s.end_s for s in spans)
        parts.append(_text(label + px_per_s * end_s + GAP, y - 5,
                           f"{end_s:.2f} s", size=11))
        y += ROW / 2
    parts += _axis(label, y, px_per_s, most_s)
    return _whole(y + 28, title, parts)
