"""How fast a bundle is, beside the engines that its user would otherwise pick.

Every figure that counts is a ratio: two engines do the same work in turns, in one run, so that
what else the machine does meets both.
"""

from pe_deploy.bench.builders import USUAL_ENGINES
from pe_deploy.bench.cold import ColdStart, cold_start
from pe_deploy.bench.file_rate import FileRate, file_rate
from pe_deploy.bench.measure import bench
from pe_deploy.bench.plot import plot
from pe_deploy.bench.result import Benchmark, Spread, Timing, save_json
from pe_deploy.bench.serving import Serving, serving

__all__ = [
    "USUAL_ENGINES",
    "Benchmark",
    "ColdStart",
    "FileRate",
    "Serving",
    "Spread",
    "Timing",
    "bench",
    "cold_start",
    "file_rate",
    "plot",
    "save_json",
    "serving",
]
