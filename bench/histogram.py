"""A histogram as a small SVG file, for the docs."""

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _MARGIN = 720, 300, 44
_COLOURS = ("#2a6fbb", "#d08a2e")
_BINS = 40


def svg(title: str, unit: str, series: Mapping[str, Sequence[float]]) -> str:
    """Draw how the values of two series are distributed, on one scale that leaves out the topmost hundredth."""
    values = sorted(value for found in series.values() for value in found)
    top = values[min(len(values) - 1, int(len(values) * 0.99))] * 1.02
    counts = {name: _counts(found, top) for name, found in series.items()}
    highest = max(max(found) for found in counts.values()) or 1
    across, up = (_WIDTH - 2 * _MARGIN) / _BINS, (_HEIGHT - 2 * _MARGIN) / highest
    floor = _HEIGHT - _MARGIN
    parts = [f'<text x="{_MARGIN}" y="20" font-size="14">{escape(title)}</text>']
    for index, (name, found) in enumerate(counts.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        parts += [
            f'<rect x="{_MARGIN + number * across:.1f}" y="{floor - count * up:.1f}" width="{across - 1:.1f}" '
            f'height="{count * up:.1f}" fill="{colour}" fill-opacity="0.6"/>'
            for number, count in enumerate(found)
            if count
        ]
        ordered = sorted(series[name])
        label = f"{name}: median {ordered[len(ordered) // 2]:.1f}"
        y = 40 + 18 * index
        parts.append(f'<rect x="{_WIDTH - 250}" y="{y - 10}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{_WIDTH - 232}" y="{y}" font-size="12">{escape(label)} {escape(unit)}</text>')
    for tick in range(5):
        x = _MARGIN + tick * (_WIDTH - 2 * _MARGIN) / 4
        parts.append(
            f'<text x="{x:.0f}" y="{floor + 16}" font-size="11" text-anchor="middle">{top * tick / 4:.0f}</text>'
        )
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 8}" font-size="12" text-anchor="middle">{escape(unit)}</text>')
    parts.append(f'<line x1="{_MARGIN}" y1="{floor}" x2="{_WIDTH - _MARGIN}" y2="{floor}" stroke="#444"/>')
    frame = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, frame, *parts, "</svg>", ""])


def _counts(values: Sequence[float], top: float) -> list[int]:
    counts = [0] * _BINS
    for value in values:
        counts[min(_BINS - 1, int(value / top * _BINS))] += 1
    return counts
