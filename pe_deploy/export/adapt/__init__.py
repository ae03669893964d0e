"""A user's module as one that maps `input_ids` to `logits`: read, adapted, and tried.

unwrapped, float32, frozen ─ copying, unscript
what forward takes       ─ inputs
where its logits are     ─ outputs
sizes read off           ─ reading
how it ends              ─ endings
what it must not do      ─ preflight
"""
