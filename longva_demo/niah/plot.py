"""The heat map in the published layout: frames across, depth down, scores 0 to 1 from red through yellow to green."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from longva_demo.niah.results import score_table
from longva_demo.niah.run import Grid, Result

COLOURS = ("#F0496E", "#EBB839", "#0CD79F")  # as published
MISSING = "#dddddd"


def draw_heat_map(results: Sequence[Result], grid: Grid, title: str, files: Sequence[Path]) -> None:
    """Write the heat map to each of `files`, as PNG or SVG by its suffix. Cells without a result are grey."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    table, depths = score_table(results), sorted(set(grid.depths))
    scores = np.array([[table.get((frames, depth), np.nan) for frames in grid.frames] for depth in depths])
    figure = Figure(figsize=(max(6.0, 0.9 * len(grid.frames) + 3), 0.7 * len(depths) + 2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_facecolor(MISSING)
    colours = LinearSegmentedColormap.from_list("score", COLOURS)
    mesh = axes.pcolormesh(scores, cmap=colours, vmin=0, vmax=1, edgecolors="white", linewidth=1)
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(grid.frames)) + 0.5, [f"{n:,}" for n in grid.frames], rotation=45)
    axes.set_yticks(np.arange(len(depths)) + 0.5, [f"{100 * depth:.0f}" for depth in depths])
    axes.set_xlabel("Frames")
    axes.set_ylabel("Depth of the needle (%)")
    axes.set_title(title, parse_math=False)  # a model folder's name may contain $
    for (row, column), score in np.ndenumerate(scores):
        if not np.isnan(score):
            axes.text(column + 0.5, row + 0.5, f"{score:.2f}", ha="center", va="center", fontsize=8)
    figure.colorbar(mesh, ax=axes, label="Score")
    for file in files:
        # Without a creation date in the SVG, the same results give the same file.
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
