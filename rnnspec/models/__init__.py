"""The tutorial's reference models, and what a model built on a recurrent layer reads of it."""

from rnnspec.models.advice import Advice, diagnose
from rnnspec.models.bidirectional import BiRNN, BiRNNParts
from rnnspec.models.infer import CannotInfer, Interface, infer
from rnnspec.models.readout import ReadoutMap, measure
from rnnspec.models.render import render
from rnnspec.models.states import Origin, origins
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
    "diagnose",
    "infer",
    "measure",
    "origins",
    "render",
]
