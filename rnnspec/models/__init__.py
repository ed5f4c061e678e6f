"""The tutorial's reference models, and what a model built on a recurrent layer reads of it."""

from rnnspec.models.advice import Advice, advise
from rnnspec.models.bidirectional import BiRNN, BiRNNParts
from rnnspec.models.infer import CannotInfer, Interface, infer_interface
from rnnspec.models.readout import ReadoutMap, measure_readout
from rnnspec.models.render import format_readout_map
from rnnspec.models.states import Origin, trace_origins
from rnnspec.models.tutorial import RNN1, RNN2, DeepBiRNN

__all__ = [
    "RNN1",
    "RNN2",
    "Advice",
    "BiRNN",
    "BiRNNParts",
    "CannotInfer",
    "DeepBiRNN",
    "Interface",
    "Origin",
    "ReadoutMap",
    "advise",
    "format_readout_map",
    "infer_interface",
    "measure_readout",
    "trace_origins",
]
