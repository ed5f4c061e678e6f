"""The tutorial's reference models, and the read-out map of a model."""

from rnnspec.models.infer import CannotInfer, Interface, infer_interface
from rnnspec.models.origins import Origin, trace_origins
from rnnspec.models.readout import measure_readout
from rnnspec.models.tutorial import RNN1, RNN2, BiRNN, BiRNNParts, DeepBiRNN
from rnnspec.readout.advice import Advice, list_advice
from rnnspec.readout.map import Columns, ReadoutMap
from rnnspec.readout.render import format_readout_map

__all__ = [
    "RNN1",
    "RNN2",
    "Advice",
    "BiRNN",
    "BiRNNParts",
    "CannotInfer",
    "Columns",
    "DeepBiRNN",
    "Interface",
    "Origin",
    "ReadoutMap",
    "format_readout_map",
    "infer_interface",
    "list_advice",
    "measure_readout",
    "trace_origins",
]
