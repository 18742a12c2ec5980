"""The services of a workspace as local processes, watched by a supervisor: started in order, again after a crash, until told to end.

It owns the supervisor (one `supervisord` per workspace, spoken to over a unix socket of its owner alone), the list of programs, their
readiness, and their logs. What a program does is its own part's: the lake's keeper, the HTTP API, the scheduler, JupyterLab, the
dashboards. A process that somebody started by hand is seen and told, and never doubled.
"""

from __future__ import annotations

from workbench.services.control import Services, ServiceState
from workbench.services.lab import Lab
from workbench.services.logs import Log, LogLine, LogLines, follow, tail
from workbench.services.programs import names_of

__all__ = ["Lab", "Log", "LogLine", "LogLines", "ServiceState", "Services", "follow", "names_of", "tail"]
