"""Many files, or tables in memory: on this machine's processors, on Ray, on Spark."""

from pe_deploy.errors import requires_extra

with requires_extra("cli"):
    from pe_deploy.scale.folder import FolderResult, predict_folder
    from pe_deploy.scale.scorer import Scorer

__all__ = ["FolderResult", "Scorer", "predict_folder"]
