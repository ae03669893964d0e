"""Serve bundles over HTTP and gRPC, by the Open Inference Protocol v2 and KServe's v1.

An inference request takes this way: `rest` or `rpc` (the wire) → `tensors` (what was sent, as rows)
→ `model` (the classifier, its answers as tensors) → the wire. `server` runs it in a process,
`workers` in several.
"""
