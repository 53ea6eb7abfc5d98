"""A comparison as a W&B Report: blocks and panels, built without the network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emer.reports.by_objective import FAMILIES
from emer.reports.comparison import COMPARED
from emer.reports.histories import WEIGHT
from emer.reports.wandb_runs import LoggedRun, axes, grouping_keys

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr

CURVES = ("val/label_gauc/mean", "val/pxtr_gauc/mean", "val/loss")
MEANS = tuple(f"test/{name}" for name in COMPARED)
QUALITY = MEANS[0]
WEIGHTS = f"{WEIGHT}.*_epoch"
"""Lightning's names of the epochs' means; ``_step`` is the same for single steps."""

_LONGEST_TITLE = 128
_MOST_AXES = 10


def comparison_report(
    sections: Mapping[str, Sequence[LoggedRun]],
    *,
    title: str,
    markdown: str,
    reference: str,
    left_out: Sequence[str],
    entity: str,
    project: str,
    labelled: bool,
) -> wr.Report:
    """The report: what was compared, what is missing, and panels for each section.

    Args:
        sections: runs that can be compared, all in the project, by the section's name; none is empty.
        title: cut to W&B's 128 characters.
        markdown: what was compared, the local report's tables.
        reference: label of the method that ``markdown`` compares the others with.
        left_out: a line for each run that the panels do not have.
        entity, project: where the runs are and the report goes.
        labelled: whether the runs' W&B config has ``label``.
    """
    import wandb_workspaces.reports.v2 as wr

    count = sum(map(len, sections.values()))
    blocks: list[Any] = [
        wr.TableOfContents(),
        wr.H1("What was compared"),
        wr.P(
            f"Runs in the panels: {count}. The tables compare with {reference}. Lines and bars are means over seeds, "
            "and the area around them, or the whisker, goes from the least to the greatest."
        ),
        wr.MarkdownBlock(markdown),
    ]
    if left_out:
        blocks += [wr.H1("Not in the panels"), wr.UnorderedList(items=list(left_out))]
    for name, runs in sections.items():
        blocks += _Section(wr, name, runs, entity, project, labelled).blocks()
    return wr.Report(project=project, entity=entity, title=title[:_LONGEST_TITLE], blocks=blocks, width="fluid")


class _Section:
    """Panels of runs that can be compared.

    Args:
        wr: ``wandb_workspaces.reports.v2``, which is imported only when a report is built.
    """

    def __init__(
        self, wr: Any, name: str, runs: Sequence[LoggedRun], entity: str, project: str, labelled: bool
    ) -> None:
        self.wr, self.name, self.logged, self.where = wr, name, runs, (entity, project)
        self.runs = [one.run for one in runs]
        self.keys = grouping_keys(self.runs, labelled=labelled)

    def blocks(self) -> list[Any]:
        wr = self.wr
        known = {f"test/{name}" for run in self.runs for name, value in run.metrics.items() if value is not None}
        means = [name for name in MEANS if name in known]
        single = [n for f in FAMILIES for n in sorted(known) if n.startswith(f"test/{f}/") and n not in MEANS]
        blocks = [wr.H1(self.name), wr.H2("Learning curves"), self._grid(self._curves())]
        blocks += [wr.H2("Test requests"), self._grid([self._bars(name) for name in means])]
        if single:
            blocks += [wr.H2("Test requests, each objective"), self._grid([self._bars(name) for name in single])]
        comparer = wr.RunComparer(diff_only="split")
        return [
            *blocks,
            wr.H2("Cost and settings"),
            self._grid([*self._scatter(means), self._parallel()]),
            self._grid([comparer], columns=1, height=12),
        ]

    def _grid(self, panels: list[Any], columns: int = 3, height: int = 6) -> Any:
        width = 24 // columns
        for place, panel in enumerate(panels):
            panel.layout = self.wr.Layout(x=width * (place % columns), y=height * (place // columns), w=width, h=height)
        return self.wr.PanelGrid(runsets=[self._runset()], panels=panels)

    def _runset(self) -> Any:
        """These runs and no other, grouped so that seeds alone are averaged."""
        from wandb_workspaces.expr import And, Metric

        filters = [Metric("ID").isin([one.wandb_id for one in self.logged])]
        sweeps = list(dict.fromkeys(one.sweep for one in self.logged))
        # The SDK passes a filter through a text in which quotes and comparison signs would change their meaning. The
        # ids are exact without it.
        if all(sweep and re.fullmatch(r"[\w.:+,@ -]+", sweep) for sweep in sweeps):
            filters.insert(0, Metric("Group").isin(sweeps))
        entity, project = self.where
        return self.wr.Runset(
            entity=entity,
            project=project,
            name=self.name,
            filters=And(*filters),
            groupby=[f"config.{key}" for key in self.keys],
            order=[self.wr.OrderBy(self.wr.SummaryMetric(QUALITY))],
        )

    def _curves(self) -> list[Any]:
        more = dict(x="epoch", groupby_aggfunc="mean", groupby_rangefunc="minmax", max_runs_to_show=len(self.runs))
        panels = [self.wr.LinePlot(title=name, y=[name], **more) for name in CURVES]
        if any(name.startswith(WEIGHT) for run in self.runs for row in run.history for name in row):
            panels.append(
                self.wr.LinePlot(title="mean weight of each objective, largest weight", metric_regex=WEIGHTS, **more)
            )
        return panels

    def _bars(self, name: str) -> Any:
        return self.wr.BarPlot(
            title=name.removeprefix("test/"),
            metrics=[name],
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            max_runs_to_show=len(self.runs),
            max_bars_to_show=len(self.runs),
        )

    def _scatter(self, means: Sequence[str]) -> list[Any]:
        wr, quality = self.wr, self.wr.SummaryMetric(QUALITY)
        cost = wr.ScatterPlot(title="cost: seconds of the run", x=wr.Metric("Runtime"), y=quality, log_x=True)
        return [cost, *(wr.ScatterPlot(x=wr.SummaryMetric(name), y=quality) for name in means if name != QUALITY)]

    def _parallel(self) -> Any:
        wr, keys = self.wr, [*dict.fromkeys([*self.keys, *axes(self.runs)])]
        shown = keys[:_MOST_AXES]
        cut = f": {len(shown)} of {len(keys)} settings" if len(shown) < len(keys) else ""
        columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(key), display_name=key) for key in [*shown, "seed"]]
        columns.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(QUALITY), display_name=QUALITY))
        return wr.ParallelCoordinatesPlot(title=f"what differs{cut}", columns=columns)
