"""Results of many runs: tables, figures, one page of HTML."""
