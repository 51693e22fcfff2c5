"""From summaries on disk to tables and pages. Knows neither models nor images."""

from sambench.reporting.console import console_table
from sambench.reporting.report import write_report
from sambench.runs.summaries import RunSummary, load_summaries

__all__ = ["RunSummary", "console_table", "load_summaries", "write_report"]
