"""Health: what works now, seen and not assumed, and a synthetic row that proves the whole way from a source to the API.

It owns the checks behind `skygraph health` and `/health`, the canary and its table `skygraph.canary`. It looks at every part and changes
none; the canary writes only what is its own.
"""

from __future__ import annotations

from workbench.health.canary import Canary, CanaryReport
from workbench.health.checks import Health, HealthReport
from workbench.health.watch import Watch

__all__ = ["Canary", "CanaryReport", "Health", "HealthReport", "Watch"]
