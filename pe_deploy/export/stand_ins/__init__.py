"""What takes the place of torch's layers while a module is captured for ONNX.

`torch.onnx.export(dynamo=True)` traces through recurrent layers: it unrolls the time steps and can
freeze the sample's batch and length into the graph without a word. A stand-in emits one standard
node a layer instead, so the capture never looks inside.
"""

from pe_deploy.export.stand_ins.patched import ready_to_capture, standing_in
from pe_deploy.export.stand_ins.plain_python import len_kept_free
from pe_deploy.export.stand_ins.specialised import sizes_asked

__all__ = ["len_kept_free", "ready_to_capture", "sizes_asked", "standing_in"]
