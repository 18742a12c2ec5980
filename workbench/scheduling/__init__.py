"""Scheduling: notebooks run with parameters, each in a process of its own, when they are due, and what came of it.

It owns papermill and `schedule`, the journal and the outputs under `.skygraph/`, and the table `skygraph.job_runs`. It does not know what
a notebook does.
"""

from __future__ import annotations

from workbench.scheduling.answers import JobHistory, JobList, JobRun, JobState
from workbench.scheduling.parameters import Parameter, read_parameters
from workbench.scheduling.runs import Runs

__all__ = ["JobHistory", "JobList", "JobRun", "JobState", "Parameter", "Runs", "read_parameters"]
