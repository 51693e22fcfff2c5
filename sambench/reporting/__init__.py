"""From summaries on disk to tables and pages. Knows neither models nor images."""

from sambench.reporting.console import console_table
from sambench.reporting.report import write_report

__all__ = ["console_table", "write_report"]
