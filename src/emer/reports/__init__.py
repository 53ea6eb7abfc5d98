"""Results of many runs: tables, figures, one page of HTML, W&B; the papers' tables in :mod:`emer.reports.papers`."""
