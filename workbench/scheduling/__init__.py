"""Scheduling: notebooks run with parameters, each in a process of its own, and what came of it.

It owns papermill, the outputs under `.skygraph/runs/` and the table `skygraph.job_runs`. It does not know what a notebook does.
"""

from __future__ import annotations

from workbench.scheduling.parameters import Parameter, read_parameters
from workbench.scheduling.runs import JobHistory, JobList, JobRun, Runs

__all__ = ["JobHistory", "JobList", "JobRun", "Parameter", "Runs", "read_parameters"]
