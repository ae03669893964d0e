"""What faults are planted into: a bundle's model in every form, and what is recorded of it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from pe_deploy.bundle.artifacts import ONNX
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.bundle.golden import GoldenCase
from pe_deploy.bundle.manifest import Manifest
from pe_deploy.config import Signature
from pe_deploy.export.adapt.copying import frozen_copy
from pe_deploy.export.eager import eager_predictor
from pe_deploy.export.onnx import to_onnx
from pe_deploy.export.passes.compact import expanded
from pe_deploy.export.rebuild import rebuilt
from pe_deploy.export.stand_ins import ready_to_capture
from pe_deploy.export.torchscript import is_scriptable
from pe_deploy.parity import Tolerance
from pe_deploy.training import GRUClassifier


@dataclass(frozen=True)
class Subject:
    """A model and its records, with or without a fault.

    Attributes:
        classifier: the model that the bundle was made from; no fault changes it.
        trained: the module that passes for the trained model, from which exact logits come.
        module: the module that becomes TorchScript.
        model: the ONNX graph, with float32 weights whatever the file holds.
        manifest: the signature and the decision.
        golden: the vectors that travel.
        tolerance: the one that a user states; None for the usual one.
        guarded_for: the signature that TorchScript checks its input by, if not the manifest's.
        only: the forms that the fault is in, if not in all.
        scriptable: whether `torch.jit.script` takes the classifier; else it is traced.
    """

    classifier: nn.Module
    trained: nn.Module
    module: nn.Module
    model: onnx.ModelProto
    manifest: Manifest
    golden: tuple[GoldenCase, ...]
    tolerance: Tolerance | None = None
    guarded_for: Signature | None = None
    only: tuple[str, ...] | None = None
    scriptable: bool = True

    @classmethod
    def of(cls, bundle: Bundle, module: nn.Module | None = None) -> Subject:
        """What a bundle holds, and the torch module that it was made from.

        That is `module`, from ids to logits as the signature has them, or what is `rebuilt`.

        Raises:
            BundleError: the bundle holds no `model.onnx`.
            ExportError: the module cannot be built again from it.
        """
        classifier = rebuilt(bundle) if module is None else frozen_copy(module)
        model = expanded(onnx.load_from_string(bundle.read(ONNX)))
        golden = tuple(bundle.golden())
        return cls(
            classifier,
            classifier,
            classifier,
            model,
            bundle.manifest,
            golden,
            scriptable=is_scriptable(classifier),
        )

    def with_manifest(self, **changes: Any) -> Subject:
        """The same models under a manifest with these fields changed."""
        return dataclasses.replace(self, manifest=dataclasses.replace(self.manifest, **changes))

    def with_weights_of(self, module: nn.Module) -> Subject:
        """Both formats with the weights of a module of the same architecture."""
        if not isinstance(module, GRUClassifier):  # whose weights may be folded in the graph
            return self.made_of(module)
        ready = frozen_copy(module)
        ready_to_capture(ready)
        state = ready.state_dict()
        model = copy.deepcopy(self.model)
        for tensor in model.graph.initializer:
            if tensor.name in state:
                tensor.CopyFrom(numpy_helper.from_array(state[tensor.name].numpy(), tensor.name))
        return dataclasses.replace(self, module=module, model=model)

    def made_of(self, module: nn.Module) -> Subject:
        """Both formats exported from another module."""
        opset = next(opset.version for opset in self.model.opset_import if not opset.domain)
        model = to_onnx(module, self.manifest.signature, opset=opset)
        return dataclasses.replace(self, module=module, model=model)

    def as_if_trained(self) -> Subject:
        """As if this module had been trained so: exact and golden logits agree with its fault."""
        return dataclasses.replace(self, trained=self.module).with_golden_of(self.module)

    def with_golden_of(self, module: nn.Module) -> Subject:
        """The same inputs with the logits and labels of another module."""
        signature = self.manifest.signature
        exact = eager_predictor(module, signature, torch.float64)
        single = eager_predictor(module, signature)

        def answered(case: GoldenCase) -> GoldenCase:
            logits = exact(case.input_ids).astype(np.float64)
            return dataclasses.replace(
                case,
                float64=logits,
                float32=single(case.input_ids).astype(np.float32),
                labels=None if case.labels is None else self.manifest.decision.recorded(logits),
            )

        return dataclasses.replace(self, golden=tuple(map(answered, self.golden)))


Plant = Callable[[Subject], Subject | str]
"""Gives a faulty copy, or says why this model cannot have the fault."""


def then(plant: Plant, change: Callable[[Subject], Subject]) -> Plant:
    """A fault, and something that is done to what it leaves."""

    def plant_and_change(subject: Subject) -> Subject | str:
        faulty = plant(subject)
        return faulty if isinstance(faulty, str) else change(faulty)

    return plant_and_change
