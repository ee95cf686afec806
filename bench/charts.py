"""Draws `bench/results/<table>.svg` from `<table>.jsonl`: its figures as bars, those of a unit beside each other.

The scale is logarithmic, since the ways that are compared differ by factors: a step to the right is ten times as much.
"""

import json
import math
from collections.abc import Iterable, Mapping
from itertools import groupby
from xml.sax.saxutils import escape

from bench.figures import RESULTS

Figure = Mapping[str, object]
_LINE_PX, _LABEL_PX, _BAR_PX, _WIDTH_PX = 20, 250, 380, 760


def chart(table: str, figures: Iterable[Figure]) -> str:
    """The figures of a table as SVG."""
    parts: list[str] = [_text(10, 18, f"{table}: {_where(figures := list(figures))}", "font-weight='bold'")]
    y = 40
    for unit, group in groupby(sorted(figures, key=lambda each: str(each["unit"])), key=lambda each: each["unit"]):
        of_unit = list(group)
        lowest = math.floor(min(_magnitude(each) for each in of_unit)) - 1
        highest = max(math.ceil(max(_magnitude(each) for each in of_unit)), lowest + 1)
        parts.append(_text(10, y, f"{unit} (from {10.0**lowest:g} to {10.0**highest:g})", "fill='#555'"))
        y += _LINE_PX
        for each in of_unit:
            width = _BAR_PX * (_magnitude(each) - lowest) / (highest - lowest)
            parts.append(_text(10, y, str(each["figure"])))
            parts.append(f"<rect x='{_LABEL_PX}' y='{y - 11}' width='{width:.0f}' height='13' fill='#3b6ea5'/>")
            parts.append(_text(_LABEL_PX + round(width) + 6, y, f"{_value(each):,.3g}"))
            y += _LINE_PX
        y += _LINE_PX // 2
    size = f"width='{_WIDTH_PX}' height='{y}'"
    head = f"<svg xmlns='http://www.w3.org/2000/svg' {size} font-family='sans-serif' font-size='12'>"
    return "\n".join([head, f"<rect {size} fill='white'/>", *parts, "</svg>", ""])


def _where(figures: Iterable[Figure]) -> str:
    return ", ".join(sorted({str(each["machine"]) for each in figures}))


def _value(figure: Figure) -> float:
    return float(str(figure["value"]))


def _magnitude(figure: Figure) -> float:
    return math.log10(max(_value(figure), 1e-6))


def _text(x: int, y: int, text: str, style: str = "") -> str:
    return f"<text x='{x}' y='{y}' {style}>{escape(text)}</text>"


def main() -> None:
    """Draw every table that has results."""
    for path in sorted(RESULTS.glob("*.jsonl")):
        figures = [json.loads(line) for line in path.read_text().splitlines()]
        path.with_suffix(".svg").write_text(chart(path.stem, figures), encoding="utf-8")


if __name__ == "__main__":
    main()
