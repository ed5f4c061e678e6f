"""The discrete axes of a case: every value that each can take, the simplest first."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Axis:
    """One independent choice of a case; `needs` names the feature that a subject must not have refused for a value."""

    name: str
    values: tuple[Hashable, ...]
    meaning: str
    needs: Mapping[Hashable, str] = field(default_factory=dict)

    @property
    def simplest(self) -> Any:
        """The value that a minimised counterexample prefers."""
        return self.values[0]


HISTORIES = {
    "fresh": "built, its weights loaded, never called",
    "called": "called before while another default dtype was set, or on the very same tensors with other numbers in them",
    "called-twice": "called twice before, in half of the cases with a call of another layer in between",
    "other-batch": "called before on another batch size and length, packed where padded now; packed also with steps otherwise shared out",
    "other-state": "called before with an initial state",
    "other-grad": "called before in another gradient mode",
    "thawed": "called before while every parameter was frozen",
    "other-mode": "called before in the other of train and eval mode",
    "trained": "called, differentiated, then its parameters updated in place",
    "reloaded": "called with other weights, then load_state_dict, in half of the cases with assign=True",
    "replaced": "called with other weights, then every parameter replaced by a new one, in half of the cases after deleting it",
    "data-replaced": "called with other weights, then the .data of every parameter replaced",
    "deepcopied": "called, then deep-copied; the copy is judged",
    "pickled": "called, then pickled and read back",
    "converted": "built and called in another dtype, then converted, in half of the cases there and back",
    "nested": "a part of another module that is loaded, converted and switched as a whole",
    "functional": "called through torch.func.functional_call with the weights as arguments",
    "shared": "another layer holds and uses the same parameters",
}

BUILDS = {
    "changed": "only what differs from the defaults, by keyword",
    "keywords": "every argument by keyword",
    "positional": "every argument by position",
    "typed": "by keyword, with dtype= and device=",
}

LAWS = {
    "plain": "moderate, all distinct, contractive",
    "large": "large inputs of mixed sign",
    "spread": "magnitudes from tiny to large, some exact zeros",
    "integer": "small integers under relu: every sum is exact",
    "ternary": "saturated or zero under tanh: every sum is exact",
    "readable": "the dropout mask of one boundary can be read off the output",
    "solvable": "the dropout mask between two layers can be solved for",
    "deaf": "layers above the first ignore the layer below, so dropout cannot matter",
}
DROPOUT_LAWS = ("readable", "solvable", "deaf")

AXES: tuple[Axis, ...] = (
    Axis("nonlinearity", ("tanh", "relu"), "the activation", {"relu": "nonlinearity"}),
    Axis(
        "num_layers",
        (1, 2, 3, 4, 5, 11),
        "stacked layers",
        dict.fromkeys((2, 3, 4, 5, 11), "num_layers"),
    ),
    Axis("bidirectional", (False, True), "one direction or two", {True: "bidirectional"}),
    Axis("batch_first", (False, True), "time-major or batch-major", {True: "batch_first"}),
    Axis("bias", (True, False), "with or without biases", {False: "bias"}),
    Axis(
        "dropout",
        ("none", "some", "all"),
        "probability 0, between, 1",
        {"some": "dropout", "all": "dropout"},
    ),
    Axis(
        "layout",
        ("batched", "unbatched", "packed", "packed-unsorted"),
        "how the sequences are handed over",
        {"unbatched": "unbatched", "packed": "packed", "packed-unsorted": "packed"},
    ),
    Axis("state", ("absent", "given"), "whether an initial state is passed", {"given": "state"}),
    Axis("mode", ("eval", "train"), "eval() or train()"),
    Axis("grad", ("grad", "no_grad", "inference"), "the gradient mode of the call"),
    Axis(
        "dtype",
        ("float64", "float32", "bfloat16", "float16"),
        "the dtype of everything",
        {"float64": "float64", "float32": "float32", "bfloat16": "bfloat16", "float16": "float16"},
    ),
    Axis(
        "arithmetic",
        ("ieee", "tf32"),
        "whether float32 products may round their operands to TF32",
        {"tf32": "tf32"},
    ),
    Axis(
        "memory",
        ("contiguous", "transposed", "exchanged", "sliced", "offset", "expanded"),
        "how input and state lie in memory",
    ),
    Axis(
        "history",
        tuple(HISTORIES),
        "what happened to the layer before",
        {"pickled": "pickle", "functional": "functional"},
    ),
    Axis("build", tuple(BUILDS), "how the constructor is called", {"typed": "dtype"}),
    Axis("values", tuple(LAWS), "the law of the values"),
)

AXIS: dict[str, Axis] = {axis.name: axis for axis in AXES}

FEATURES: dict[str, str] = {
    "nonlinearity": "the nonlinearity argument (relu)",
    "num_layers": "more than one layer",
    "bidirectional": "two directions",
    "batch_first": "the batch_first argument",
    "bias": "the bias argument (no biases)",
    "dropout": "dropout between layers",
    "unbatched": "two-dimensional input",
    "packed": "PackedSequence as input",
    "state": "an initial state passed by the caller",
    "gradients": "differentiation",
    "second-order": "differentiating twice",
    "float64": "float64",
    "float32": "float32",
    "bfloat16": "bfloat16",
    "float16": "float16",
    "tf32": "TF32 arithmetic, which CUDA alone has",
    "dtype": "the dtype and device arguments",
    "pickle": "pickling",
    "functional": "torch.func.functional_call",
    "meta": "the meta device",
}
