"""Heat maps in the published layout: frames across, depth down, scores 0 to 1 from red through yellow to green."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from longva_demo.niah.grid import Grid
from longva_demo.niah.results import Table, score_table
from longva_demo.niah.run import Result

if TYPE_CHECKING:  # optional: the extra [niah]
    from matplotlib.axes import Axes

MISSING = "#dddddd"


@dataclass(frozen=True)
class Scale:
    """Colours of values from `low` to `high`, the format of a value, and the label of the colour bar."""

    colours: tuple[str, str, str]
    low: float
    high: float
    form: str
    label: str


SCORE = Scale(("#F0496E", "#EBB839", "#0CD79F"), 0, 1, ".2f", "Score")  # colours as published
DIFFERENCE = Scale(("#2B6CB0", "#F7F7F7", "#B7410E"), -1, 1, "+.2f", "Difference")


@dataclass(frozen=True)
class Panel:
    """One heat map: values by (frames, depth), its title and its scale."""

    table: Table
    title: str
    scale: Scale = SCORE


def draw_heat_map(results: Sequence[Result], grid: Grid, title: str, files: Sequence[Path]) -> None:
    """Write the heat map to each of `files`, as PNG or SVG by its suffix. Cells without a result are grey."""
    draw_panels([Panel(score_table(results), title)], grid, files)


def draw_panels(panels: Sequence[Panel], grid: Grid, files: Sequence[Path]) -> None:
    """Write heat maps of one grid side by side to each of `files`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = max(6.0, 0.9 * len(grid.frames) + 3)
    height = 0.7 * len(set(grid.depths)) + 2
    figure = Figure(figsize=(width * len(panels), height), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw_panel(axes, panel, grid)
    for file in files:
        # Without a creation date in the SVG, the same results give the same file.
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def draw_panel(axes: "Axes", panel: Panel, grid: Grid) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    scale, depths = panel.scale, sorted(set(grid.depths))
    values = np.array([[panel.table.get((frames, depth), np.nan) for frames in grid.frames] for depth in depths])
    axes.set_facecolor(MISSING)
    colours = LinearSegmentedColormap.from_list("score", scale.colours)
    mesh = axes.pcolormesh(values, cmap=colours, vmin=scale.low, vmax=scale.high, edgecolors="white", linewidth=1)
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(grid.frames)) + 0.5, [f"{n:,}" for n in grid.frames], rotation=45)
    axes.set_yticks(np.arange(len(depths)) + 0.5, [f"{100 * depth:.0f}" for depth in depths])
    axes.set_xlabel("Frames")
    axes.set_ylabel("Depth of the needle (%)")
    axes.set_title(panel.title, parse_math=False)  # a model folder's name may contain $
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            axes.text(column + 0.5, row + 0.5, f"{value:{scale.form}}", ha="center", va="center", fontsize=8)
    axes.figure.colorbar(mesh, ax=axes, label=scale.label)
