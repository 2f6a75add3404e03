"""The critical-difference diagram (Demsar, 2006, figure 1): mean ranks on a line, bars over what is not told apart."""

from __future__ import annotations

from xml.etree import ElementTree

from .comparison import Ranks

WIDTH, SIDE, LINE = 760, 220, 19  # of the picture, of the labels on each side, between two labels; pixels
LETTERS = 32  # of a label
NAMESPACE = "http://www.w3.org/2000/svg"


def critical_diagram(found: Ranks) -> ElementTree.Element:
    """The diagram as an SVG element: the best methods on the left, the others on the right, labels from the middle."""
    methods, last = list(found.means), len(found.means)
    left = -(-last // 2)
    bars = 48 + 9 * len(found.alike)
    height = bars + LINE * left + 14
    title = f"Mean ranks of {found.metric} over {found.settings} settings"
    shape = {"viewBox": f"0 0 {WIDTH} {height}", "width": str(WIDTH), "height": str(height), "role": "img"}
    drawing = ElementTree.Element("svg", shape | {"font-family": "sans-serif", "font-size": "12"})
    drawing.set("aria-label", f"{title}; the numbers are listed in the report")

    def at(rank: float) -> float:
        return SIDE + (WIDTH - 2 * SIDE) * (rank - 1) / (last - 1)

    line(drawing, at(1), 34, at(last), 34)
    for rank in range(1, last + 1):
        line(drawing, at(rank), 29, at(rank), 34)
        if last <= 16 or rank in (1, last) or (rank % 5 == 0 and rank < last - 1):
            text(drawing, at(rank), 24, str(rank), "middle")
    line(drawing, at(1), 8, at(min(1 + found.critical, last)), 8, 2)
    told = f"CD {found.critical:.2f}" + (" (wider than the line)" if 1 + found.critical > last else "")
    text(drawing, at(1) - 6, 12, told, "end")
    for number, alike in enumerate(found.alike):
        ends = [at(found.means[method]) for method in (alike[0], alike[-1])]
        line(drawing, ends[0] - 4, 43 + 9 * number, ends[1] + 4, 43 + 9 * number, 4)
    for place, method in enumerate(methods):
        on_left = place < left
        y = bars + LINE * (place if on_left else last - 1 - place) + 8
        x, edge = at(found.means[method]), SIDE - 12 if on_left else WIDTH - SIDE + 12
        line(drawing, x, 34, x, y)
        line(drawing, x, y, edge, y)
        name = method if len(method) <= LETTERS else method[: LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"
        label = f"{name} {found.means[method]:.2f}" if on_left else f"{found.means[method]:.2f} {name}"
        text(drawing, edge + (-4 if on_left else 4), y + 4, label, "end" if on_left else "start", method)
    return drawing


def line(drawing: ElementTree.Element, x1: float, y1: float, x2: float, y2: float, width: float = 1) -> None:
    """Add a line."""
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "stroke-width": width}
    places = {name: f"{value:.1f}" for name, value in ends.items()}
    ElementTree.SubElement(drawing, "line", places | {"stroke": "currentColor"})


def text(drawing: ElementTree.Element, x: float, y: float, words: str, anchor: str, full: str = "") -> None:
    """Add words, with the whole of a shortened name as what the pointer shows."""
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "fill": "currentColor"}
    node = ElementTree.SubElement(drawing, "text", place)
    node.text = words
    if full:
        ElementTree.SubElement(node, "title").text = full


def as_file(drawing: ElementTree.Element) -> str:
    """The diagram as the content of a file, black on white."""
    drawing = ElementTree.fromstring(ElementTree.tostring(drawing))
    drawing.set("xmlns", NAMESPACE)
    drawing.set("style", "color: #000; background: #fff")
    return ElementTree.tostring(drawing, encoding="unicode") + "\n"
