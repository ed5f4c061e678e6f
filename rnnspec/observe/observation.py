"""Observations of a subject in one case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch

from rnnspec import oracle
from rnnspec.cases.axes import AXES, DType, Feature, Float32Precision
from rnnspec.cases.case import Case
from rnnspec.cases.values import Values, draw_values, round_to_dtype
from rnnspec.observe.backward import Backward
from rnnspec.observe.birth import NewLayer, build_new_layer
from rnnspec.observe.call import Call, perform_call
from rnnspec.observe.expected import Expected
from rnnspec.observe.part import part
from rnnspec.observe.prepared import PreparedLayer, prepare_layer
from rnnspec.observe.tensors import CallArguments, build_arguments, to_array
from rnnspec.oracle import Array
from rnnspec.subjects.devices import is_cpu, seed_torch
from rnnspec.subjects.failures import Failure, Raised, Unsupported
from rnnspec.subjects.precision import switch_tf32
from rnnspec.subjects.steps import USING_RESULTS
from rnnspec.subjects.subject import Capabilities, Subject

Fact = TypeVar("Fact")
_COLLECTED: ContextVar[list[Observation] | None] = ContextVar("collected", default=None)


@contextmanager
def collect_observations() -> Iterator[list[Observation]]:
    """Collect the observations that are made while the context is active.

    On exit, observations without a call get a new layer, since theirs was used in other ways.
    """
    made: list[Observation] = []
    token = _COLLECTED.set(made)
    try:
        yield made
    finally:
        _COLLECTED.reset(token)
        made[:] = [each if each.was_called else each.renew() for each in made]


def is_plain(case: Case, capabilities: Capabilities) -> bool:
    """Return whether a case uses only the first supported dtype and no other optional feature."""
    others = [axis for axis in AXES if axis.name not in ("dtype", "float32_precision")]
    dtypes = [dtype for dtype in DType if capabilities.offers(dtype.needs)]
    plain = not any(axis.needed_feature(case.get_choice(axis.name)) for axis in others)
    return case.dtype is dtypes[0] and plain


def _collect(observation: Observation) -> None:
    """Add an observation to the current collection, if there is one."""
    collected = _COLLECTED.get()
    if collected is not None and observation not in collected:
        collected.append(observation)


class Observation:
    """An observation of a subject in one case.

    Each part is computed once, on first use; if that fails, the failure is kept and raised each
    time. Arrays are float64 and time-major: output (T, N, D * H) with zeros beyond the end of each
    sequence, and the final states (D * num_layers, N, S) concatenated along the last axis. If a
    rule makes this call in addition to the checked call, `origin` is the observation of the checked
    call.
    """

    def __init__(
        self,
        subject: Subject,
        case: Case,
        values: Values | None = None,
        prepared: PreparedLayer | None = None,
        origin: Observation | None = None,
    ) -> None:
        self.subject = subject
        self.case = case
        self.origin = origin
        self._values = values
        self._prepared = prepared
        self._facts: dict[str, Any] = {}
        self._is_lent = False
        _collect(self)

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """Return a context for all computations of this case, including further calls.

        It sets the precision of float32 products on CUDA. If torch fails in a rule's own
        computation on a device other than the CPU, the failure is attributed to the subject, which
        runs there.
        """
        allows = self.case.float32_precision is Float32Precision.TF32
        with switch_tf32(self.subject.device, tf32=allows):
            try:
                yield
            except RuntimeError as error:
                if is_cpu(self.subject.device) or isinstance(error, RecursionError):
                    raise
                raise Raised(USING_RESULTS, error) from error

    def remember(self, name: str, compute: Callable[[], Fact]) -> Fact:
        """Return the result of `compute`, which is called only once for each `name`.

        Use a name that no other computation has: whoever asks for the same name gets your result.
        """
        if name not in self._facts:
            self._facts[name] = compute()
        fact: Fact = self._facts[name]
        return fact

    @property
    def was_called(self) -> bool:
        """Whether the call of this observation has been made, or has failed."""
        return "call" in self.__dict__.get("_parts", {})

    def take_call(self, call: Call) -> None:
        """Adopt a call with the same values as this observation, made with other tensors.

        Raises ValueError if this observation has been called, because its results are kept.
        """
        if self.was_called:
            raise ValueError("this observation has a call; pass yours to second_call()")
        self.__dict__.setdefault("_parts", {})["call"] = call

    @property
    def values(self) -> Values:
        """The values of the case, which you must not change. See `Values` for the shapes.

        Final states that are not returned have zero cotangents.
        """
        drawn = self._values or draw_values(self.case)
        if self.subject.capabilities.returns_states(self.case.config.kind_data):
            return drawn
        return replace(drawn, d_final=np.zeros_like(drawn.d_final))

    @part
    def new(self) -> NewLayer:
        """The layer returned by the constructor, with facts recorded at that time."""
        seed_torch(self.case.seed, self.subject.device)
        return build_new_layer(self.subject, self.case)

    @part
    def prepared(self) -> PreparedLayer:
        """The layer after its prior use, with the weights of the case loaded."""
        if self._prepared is not None:
            return self._prepared
        return prepare_layer(self.subject, self.case, self.values, self.new.module)

    @part
    def holds_weights(self) -> bool:
        """Whether a new layer has exactly the weights of the case after loading them."""
        layer = PreparedLayer(self.subject, self.case, self.values)
        layer.load()
        return all(
            np.array_equal(to_array(weight), self.values.weights[name], equal_nan=True)
            for name, weight in layer.weights().items()
        )

    @property
    def module(self) -> torch.nn.Module:
        """The layer as a module."""
        return self.prepared.module

    @part
    def spare_layer(self) -> PreparedLayer:
        """Another layer with the same prior use and weights, which you may damage by a call."""
        return prepare_layer(self.subject, self.case, self.values)

    def build_arguments(self) -> CallArguments:
        """Return new arguments with the values of the case, for a call that you make yourself."""
        return build_arguments(
            self.case, self.values.input, self.values.initial, self.subject.device
        )

    @part
    def call(self) -> Call:
        """The call with the arguments of the case."""
        layer = self.prepared
        given = self.build_arguments()
        try:
            self.case.prior_use.before_call(layer, self.case, given)
            seed_torch(self.case.seed, self.subject.device)
            with self.case.prior_use.during(self.case):
                return perform_call(layer, self.case, given)
        except Unsupported as refusal:
            capabilities = self.subject.capabilities
            if capabilities.is_complete and is_plain(self.case, capabilities):
                message = f"{refusal}; a plain call must be supported"
                raise Failure(message, refusal.key) from refusal
            raise

    @part
    def output(self) -> Array:
        """The output of the call."""
        return self.call.output

    @part
    def states(self) -> dict[str, Array]:
        """The final states of the call by name: h_n, and for an LSTM also c_n."""
        return self.call.states

    @property
    def final(self) -> Array:
        """The final states of the call, concatenated along the last axis."""
        return np.concatenate(list(self.states.values()), axis=-1)

    @property
    def results(self) -> dict[str, Array]:
        """The results of the call by name: output, unless it is a cell, and the final states."""
        return {name: self.get_result(name) for name in self.result_names}

    def get_result(self, name: str) -> Array:
        """Return a result of the call: the output, or a final state."""
        return self.output if name == "output" else self.states[name]

    @property
    def result_names(self) -> tuple[str, ...]:
        """The names of the results to check."""
        return self.subject.capabilities.list_results(self.case.config.kind_data)

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of the final states among the results."""
        final = self.case.config.kind_data.final
        return tuple(name for name in self.result_names if name in final)

    @part
    def expected(self) -> Expected:
        """The results and gradients that the contract requires, with bounds for your comparison."""
        return Expected(self.case, self.values)

    def certify(
        self, rounding: oracle.Rounding | None = None, *, is_usual: bool = False
    ) -> oracle.Certificate | None:
        """Return the required result of each step, computed from the layer's own previous state.

        Returns None if the results do not contain these states. Unless you pass a rounding model,
        the case decides. If you set `is_usual`, the bound covers only usual errors, see
        `oracle.certify`. Raises Failure if the result with the states cannot be observed.
        """
        problem = self.expected.problem
        name, chosen = oracle.name_shown(problem), rounding or self.expected.rounding
        if name not in self.result_names:
            return None
        return self.remember(
            f"certificate of {chosen.name}{' as usual' if is_usual else ''}",
            lambda: oracle.certify(problem, self.get_result(name), chosen, is_usual=is_usual),
        )

    def estimate_gradients(self) -> oracle.Certificate | None:
        """Return the gradients computed from the layer's own hidden states, and their usual errors.

        Returns None if the results do not contain these states. Raises Failure if the result with
        the states cannot be observed.
        """
        expected = self.expected
        name = oracle.name_shown(expected.problem)
        if name not in self.result_names:
            return None
        return oracle.certify_gradients(
            expected.problem,
            self.get_result(name),
            expected.cotangents,
            expected.rounding,
            is_usual=True,
        )

    @part
    def backward(self) -> Backward:
        """The backward pass of the call, as used by `gradients`."""
        return self.prepare_backward(self.call)

    @part
    def gradients(self) -> dict[str, Array]:
        """The gradients of the sum of all results, weighted with their cotangents, by name.

        There is a gradient for the input, the initial states if they are given, and every
        parameter.
        """
        return self.backward.compute_gradients(self.result_names)

    def differentiate(
        self, call: Call, results: tuple[str, ...], retain: bool = True
    ) -> dict[str, Array]:
        """Return the gradients of the named results of a call, see `Backward.compute_gradients`."""
        return self.prepare_backward(call).compute_gradients(results, retain)

    def prepare_backward(self, call: Call) -> Backward:
        """Return the backward pass of a call of this layer, with the cotangents of the case."""
        offers_states = self.subject.offers(Feature.STATE_GRADIENTS)
        without = () if offers_states else self.case.config.kind_data.initial
        leaves = {
            name: tensor
            for name, tensor in {**call.given.tensors, **self.prepared.weights()}.items()
            if tensor.requires_grad and name not in without
        }
        return Backward(self.case, self.values, call, leaves)

    def with_cotangents(self, d_output: Array, d_final: Array) -> Backward:
        """Return the backward pass of the call, with these cotangents rounded to the dtype."""
        dtype = self.case.dtype
        values = replace(
            self.values,
            d_output=round_to_dtype(d_output, dtype),
            d_final=round_to_dtype(d_final, dtype),
        )
        return replace(self.prepare_backward(self.call), values=values)

    def second_call(self, **changes: Any) -> Observation:
        """Return another call of the same layer, with the values that you change.

        `changes` may contain input, initial, d_output and d_final, in the shapes of `Values`; they
        are rounded to the dtype.
        """
        rounded: dict[str, Any] = {
            name: round_to_dtype(array, self.case.dtype) for name, array in changes.items()
        }
        values = replace(self.values, **rounded)
        return Observation(self.subject, self.case, values, self.prepared, self.checked)

    def share_fresh_layer(self) -> torch.nn.Module:
        """Return a new layer without prior use, for facts that earlier use cannot change.

        It is never called, and rules share it.
        """
        case = self.case.make_fresh()
        return self.share("fresh layer", lambda: self.new_layer(case)).module

    def share(self, name: str, make: Callable[[], Observation]) -> Observation:
        """Return another observation, made once for all rules that request this name.

        Use it if your rule needs a layer or a call that another rule needs too.
        """
        made = self.remember(name, make)
        _collect(made)
        return made

    def repeat(self) -> Observation:
        """Return a second call of the same layer on equal arguments.

        Rules share it: use `borrow_repeated` if you damage or differentiate it.
        """
        return self.share("repeated", self.second_call)

    def call_negated(self) -> Observation:
        """Return a call of the same layer on the negated input, shared by rules.

        It is made after the checked call.
        """
        _ = self.call
        return self.share("negated", lambda: self.second_call(input=-self.values.input))

    def borrow_repeated(self) -> Observation:
        """Return a second call on equal arguments for a rule that damages or differentiates it.

        The first rule receives the call that rules share, because its results have already been
        read by then.
        """
        if self._is_lent:
            return self.second_call()
        self._is_lent = True
        made = self.repeat()
        with suppress(Failure):
            _ = made.results
        return made

    def second_call_as(self, case: Case, **changes: Any) -> Observation:
        """Return a call of the same layer with the same weights, for another case that you pass."""
        values = replace(draw_values(case), weights=self.values.weights, **changes)
        return Observation(self.subject, case, values, self.prepared, self.checked)

    @property
    def checked(self) -> Observation:
        """The observation of the checked call: this observation or its origin."""
        return self.origin or self

    def renew(self) -> Observation:
        """Return an observation with the same case and values, and a new layer."""
        return Observation(self.subject, self.case, self._values)

    def new_layer(self, case: Case, **changes: Any) -> Observation:
        """Return an observation of a case with a new layer.

        `changes` replace some of the values of the case. Raises Unsupported if the case needs
        another value for an argument that the user has fixed.
        """
        for name, value in self.subject.fixed.items():
            if getattr(case.config, name, value) != value:
                raise Unsupported(f"{name} is always {value!r}")
        values = replace(draw_values(case), **changes) if changes else None
        return Observation(self.subject, case, values, origin=self.checked)
