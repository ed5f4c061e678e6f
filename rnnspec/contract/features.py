"""The optional features of a recurrent layer, which a subject may refuse openly."""

from __future__ import annotations

from enum import Enum

from rnnspec.errors import suggest_similar


class Feature(Enum):
    """A feature that a subject may lack; rules that need it are then not applicable.

    If you add a feature, name it in `needs` of the rules and of the axis values that depend on it.
    """

    NONLINEARITY = ("nonlinearity", "the nonlinearity argument (relu)")
    NUM_LAYERS = ("num_layers", "more than one layer")
    BIDIRECTIONAL = ("bidirectional", "two directions")
    BATCH_FIRST = ("batch_first", "the batch_first argument")
    PROJECTION = ("proj_size", "the proj_size argument (projected hidden states)")
    BIAS = ("bias", "the bias argument (no biases)")
    DROPOUT = ("dropout", "dropout between layers")
    UNBATCHED = ("unbatched", "two-dimensional input")
    PACKED = ("packed", "PackedSequence as input")
    STATE = ("state", "an initial state passed by the caller")
    STATE_CHECKS = ("state-checks", "the rejection of initial states of a wrong size")
    STATE_GRADIENTS = ("state-gradients", "the gradients of the initial state")
    FINAL_STATE = ("final-state", "the final states among the results of a call")
    GRADIENTS = ("gradients", "differentiation")
    SECOND_ORDER = ("second-order", "differentiating twice")
    FLOAT64 = ("float64", "float64")
    FLOAT32 = ("float32", "float32")
    BFLOAT16 = ("bfloat16", "bfloat16")
    FLOAT16 = ("float16", "float16")
    TF32 = ("tf32", "TF32 arithmetic, which only CUDA devices have")
    DTYPE = ("dtype", "the dtype and device arguments")
    PICKLE = ("pickle", "pickling")
    FUNCTIONAL = ("functional", "torch.func.functional_call")
    META = ("meta", "the meta device")
    INFERENCE = ("inference-mode", "torch.inference_mode")
    STRIDES = ("strides", "tensors that are laid out in memory in another order")
    ADDRESSES = ("addresses", "addresses of tensors in memory")
    SEEDS = ("seeds", "random numbers that torch.manual_seed repeats")
    FORKED_GENERATORS = ("forked-generators", "torch.random.fork_rng")
    AUTOCAST = ("autocast", "torch.autocast to bfloat16")
    DROP_IN = ("drop-in", "the documented constructor, parameters and methods of a module")

    @property
    def text(self) -> str:
        """The name used on the command line and in JSON."""
        return self.value[0]

    @property
    def meaning(self) -> str:
        """A description of the feature."""
        return self.value[1]

    @classmethod
    def parse(cls, text: str) -> Feature:
        """Return the feature called `text`. Raises ValueError if there is none."""
        known = {member.text: member for member in cls}
        if text not in known:
            raise ValueError(f"{text!r} is no feature.{suggest_similar(text, known)}")
        return known[text]

    def __str__(self) -> str:
        return self.text


OF_DEVICES = (
    Feature.TF32,
    Feature.INFERENCE,
    Feature.STRIDES,
    Feature.ADDRESSES,
    Feature.SEEDS,
    Feature.FORKED_GENERATORS,
    Feature.AUTOCAST,
)
"""The features that only depend on the device, whatever the subject is."""
STOOD_IN_FOR = (Feature.DROP_IN, Feature.STATE_CHECKS)
"""Features that cannot be checked through an adapter, which takes the place of the subject."""
