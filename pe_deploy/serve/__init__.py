"""Serve bundles over HTTP and gRPC, by the Open Inference Protocol v2 and KServe's v1.

A request takes this way: `rest` or `rpc` (the wires) → `tensors` (what was sent, as rows) →
`serving` and `batching` (what waits is run together) → `model` (the classifier, its answers as
tensors) → the wire. `server` runs it in a process, `workers` in several.
"""
