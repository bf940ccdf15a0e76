# SPDX-License-Identifier: GPL-2.0-only
"""Plots of a measuring run as SVG to stand inside a page, without script.

matplotlib draws in colours that stand for names; the page's style gives each
name a colour for light and one for dark. Panels are narrow, so that the page
can put them side by side or below one another.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from kvet.cost.contention import frequency, histogram, phases, small_share
from kvet.cost.figures import UNIT_NAMES, Difference, Figures, compare, operations

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# colour in the drawing: custom property of the page
INK, RULE = "#000101", "#000102"
SERIES = tuple(f"#0002{i:02x}" for i in range(10))
NAMES = {INK: "--text", RULE: "--line", **{c: f"--plot-{i}" for i, c in enumerate(SERIES)}}
WIDTH_IN = 3.7
# what a difference is shown of, where it was measured
SHOWN = ("map_2m_table", "vmalloc_huge_2m_table", "map_1g_table", "dump")
# below this many instructions the axis of differences is linear
LINEAR = 10.0
TICKS = (-100_000, -1000, -10, 0, 10, 1000, 100_000, 10_000_000)
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "legend.fontsize": 7,
}
PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
OPENING = re.compile(r'<svg (.*?)width="[\d.]+pt" height="[\d.]+pt"(.*?)>', re.DOTALL)
LEAVE_OUT = re.compile(
    r"<metadata>.*?</metadata>|<style type=.*?</style>|<!--.*?-->| id=\"[\w.]+?_\d+\"", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Plot:
    """One panel: its SVG text and what it shows in words."""

    name: str
    title: str
    description: str
    svg: str


def plots_of(variants: Sequence[Figures], reference: str, prefix: str) -> Iterator[Plot]:
    """All panels of one group of cells; `prefix` makes their ids unique in the page."""
    if phases(variants):
        yield _fallback(variants, f"{prefix}-small")
        drawn = [(v, _distributions(v)) for v in variants]
        seen = [power for _, told in drawn for t in told for power in t.counts]
        for number, (variant, told) in enumerate(drawn):
            if told:
                span = (min(seen) - 1, max(seen))
                yield _latency(variant, told, span, f"{prefix}-wait-{number}")
        return
    found = compare(variants, reference)
    for situation, metric in (("none", "typical"), ("always", "own")):
        for op in (op for op in SHOWN if op in operations(variants, situation)):
            name = f"{situation}.{op}.{metric}"
            own = [d for d in found if d.name == name]
            if own:
                unit = UNIT_NAMES[variants[0].unit]
                yield _differences(own, situation, op, unit, f"{prefix}-{situation}-{op}")


def _differences(
    found: Sequence[Difference], situation: str, op: str, unit: str, name: str
) -> Plot:
    """A row for each variant: its difference and the 95 % interval."""
    from matplotlib.ticker import NullLocator

    walk = "no walker" if situation == "none" else "a walk is open"

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=INK, linewidth=0.8)
        for row, d in enumerate(reversed(found)):
            colour = SERIES[0] if d.matters else SERIES[7]
            axes.plot([d.low, d.high], [row, row], color=colour, linewidth=3, alpha=0.5)
            axes.plot([d.size], [row], "o", color=colour, markersize=4)
            axes.annotate(
                f"{d.size:+.0f}",
                (d.size, row),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
        axes.set_xscale("symlog", linthresh=LINEAR)
        axes.margins(x=0.18, y=0.12)
        ticks = [t for t in TICKS if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]]
        axes.set_xticks(ticks, [_signed(t) for t in ticks], minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yticks(range(len(found)), [d.variant for d in reversed(found)])
        axes.set_xlabel(f"{unit} more than {found[0].reference}")
        axes.grid(axis="x")

    told = "; ".join(
        f"{d.variant} {d.size:+.0f} (95 % interval {d.low:+.0f} to {d.high:+.0f})" for d in found
    )
    title = f"{op}, {walk}"
    return _plot(name, title, f"{unit} more than {found[0].reference}: {told}.",
                 0.9 + 0.24 * len(found), draw)  # fmt: skip


def _fallback(variants: Sequence[Figures], name: str) -> Plot:
    """Share of huge requests that got small pages against how often walks are made."""
    lines: dict[tuple[float, ...], list[Figures]] = {}
    steps = phases(variants)
    for variant in variants:
        shares = tuple(round(100 * (small_share(variant, p) or 0), 1) for p in steps)
        # a design that never or always falls back looks like all others that do
        lines.setdefault(shares if len(set(shares)) > 1 else shares[:1], []).append(variant)

    def draw(axes: Axes) -> None:
        for number, (shares, alike) in enumerate(lines.items()):
            often = [frequency(alike[0], p) or 0.0 for p in steps]
            axes.plot(
                often,
                shares if len(shares) > 1 else shares * len(often),
                "o-",
                color=SERIES[number % len(SERIES)],
                markersize=3,
                label=_wrapped([v.variant for v in alike]),
            )
        axes.set_xlim(left=0)
        axes.set_ylim(-4, 104)
        axes.set_xlabel("walks in a million ticks of the guest's clock")
        axes.set_ylabel("small pages, % of requests")
        axes.grid()
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2))

    told = "; ".join(
        f"{', '.join(v.variant for v in alike)}: {', '.join(f'{s:g} %' for s in shares)}"
        for shares, alike in lines.items()
    )
    return _plot(
        name,
        "huge requests that got small pages",
        f"From no walks to walks without a gap: {told}.",
        3.0 + 0.12 * len(variants),
        draw,
    )


def _wrapped(names: Sequence[str]) -> str:
    lines = [", ".join(names[start : start + 3]) for start in range(0, len(names), 3)]
    return ",\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Distribution:
    """Calls of one side in one phase by power of two, and how they are drawn."""

    label: str
    counts: dict[int, int]
    colour: str
    line: str


def _distributions(variant: Figures) -> list[_Distribution]:
    steps = phases([variant])
    shown = (
        ("freer, no walks", steps[0], "freer", SERIES[7], ":"),
        ("freer, walks without a gap", steps[-1], "freer", SERIES[0], "-"),
        ("walker", steps[-1], "walker", SERIES[1], "--"),
    )
    made = [
        _Distribution(label, histogram(variant, phase, side), colour, line)
        for label, phase, side, colour, line in shown
    ]
    return [distribution for distribution in made if distribution.counts]


def _latency(
    variant: Figures, told: Sequence[_Distribution], span: tuple[int, int], name: str
) -> Plot:
    """How calls of freer and walker spread over powers of two of instructions."""
    unit = UNIT_NAMES[variant.unit]
    edges = list(range(span[0], span[1] + 1))

    def draw(axes: Axes) -> None:
        for one in told:
            total = sum(one.counts.values())
            shares = [100 * one.counts.get(n + 1, 0) / total for n in edges[:-1]]
            axes.stairs(shares, edges, color=one.colour, ls=one.line, lw=1.6, label=one.label)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0, 130)
        axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        axes.set_xticks(edges[::3], [_power(n) for n in edges[::3]])
        axes.set_xlabel(f"{unit} from call to return")
        axes.set_ylabel("% of calls")
        axes.grid(axis="y")
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.26), ncols=2)

    words = "; ".join(
        f"{one.label}: most below {_power(max(one.counts, key=one.counts.__getitem__))}, "
        f"longest below {_power(max(one.counts))}"
        for one in told
    )
    return _plot(name, f"{variant.variant}: waits", f"Calls by {unit}; {words}.", 2.5, draw)


def _signed(value: int) -> str:
    """A tick of the axis of differences."""
    for size, unit in ((1_000_000, "M"), (1000, "k")):
        if abs(value) >= size:
            return f"{value // size:+d}{unit}"
    return f"{value:+d}" if value else "0"


def _power(exponent: int) -> str:
    """2^n as a short number."""
    for size, unit in ((30, "G"), (20, "M"), (10, "k")):
        if exponent >= size:
            return f"{1 << (exponent - size)}{unit}"
    return str(1 << exponent)


def _plot(
    name: str, title: str, description: str, height_in: float, draw: Callable[[Axes], Any]
) -> Plot:
    # a second to import: only who draws plots pays
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # the salt makes the ids of one drawing its own, and the same in every run
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        FigureCanvasSVG(figure)
        figure.suptitle(title, x=0.02, horizontalalignment="left", fontsize=9)
        draw(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return Plot(name, title, description, _for_page(out.getvalue(), name, title, description))


def _for_page(svg: str, name: str, title: str, description: str) -> str:
    """The drawing without what is for a file of its own, named colours, and its words."""
    svg = LEAVE_OUT.sub("", PROLOGUE.sub("", svg, count=1))
    for colour, variable in NAMES.items():
        svg = svg.replace(colour, f"var({variable})")
    words = f'<title id="{name}-t">{escape(title)}</title>'
    words += f'<desc id="{name}-d">{escape(description)}</desc>'
    head = f'role="img" aria-labelledby="{name}-t" aria-describedby="{name}-d"'
    return OPENING.sub(lambda f: f"<svg {f.group(1)}{head}{f.group(2)}>{words}", svg, count=1)
