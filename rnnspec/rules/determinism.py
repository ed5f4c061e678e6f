"""Rules about repeated calls: the same seed, arguments and parameters give the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rnnspec import oracle
from rnnspec.cases.axes import Feature
from rnnspec.cases.conditions import has_active_dropout, has_known_gradients, one_in
from rnnspec.observe.call import perform_call
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.rule import DROPOUT, REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import assert_identical, is_visible
from rnnspec.subjects.devices import explain_nondeterminism, fork_generators
from rnnspec.subjects.failures import Raised, Unsupported
from rnnspec.text import read_message

SAME_BITS = Snippet(
    """first = []
for _ in range(20):
    torch.manual_seed(0)
    output, states = layer(*copy.deepcopy(given))
    results = [data(output), *list_tensors(states)]
    first = first or results
    assert all(map(torch.equal, first, results)), results""",
    (Helper.DATA, Helper.LIST_TENSORS),
    ("copy",),
)
SAME_GRADIENTS = Snippet(
    """first = []
for _ in range(20):
    torch.manual_seed(0)
    output, states = layer(*given)
    total = sum(spread(each) for each in [data(output), *list_tensors(states)])
    leaves = [x, *layer.parameters()]
    found = torch.autograd.grad(total, leaves, retain_graph=True, materialize_grads=True)
    first = first or found
    assert all(map(torch.equal, first, found)), found""",
    (Helper.SPREAD, Helper.DATA, Helper.LIST_TENSORS, Helper.INPUT_GRADIENTS, Helper.BACKWARD),
)
FORKED = Snippet(
    """torch.rand(3, device=x.device)
with torch.random.fork_rng({kind}):
    first = layer(*given)
for one, other in zip(first, layer(*given)):
    for before, after in zip(list_tensors(data(one)), list_tensors(data(other))):
        assert torch.equal(before, after), after""",
    (Helper.DATA, Helper.LIST_TENSORS),
)
DETERMINISTIC = Snippet("torch.use_deterministic_algorithms(True)")


@rule(
    "rnn.effects.same-bits",
    when=one_in(12),
    id="side-effects.same-bits",
    presupposes=(
        Fact.RESULTS,
        Fact.GRADIENTS,
        *REPEATED_CALLS,
        "side-effects.deterministic",
        "side-effects.arguments",
        DROPOUT,
    ),
)
def same_bits(observation: Observation) -> None:
    """A call that is repeated from the same seed returns the same bits, and so does its backward
    pass.

    The results of a second call on equal arguments are compared bit for bit with the results of the
    first, and so are the gradients, if there are any.

    Catches sums whose order depends on timing, such as atomic additions.
    """
    _assert_same_bits(observation, observation.repeat())


@rule(
    "rnn.effects.deterministic",
    when=one_in(32, 2, of_cells=8),
    id="side-effects.deterministic",
    presupposes=(Fact.RESULTS, Fact.GRADIENTS, *REPEATED_CALLS, DROPOUT),
)
def deterministic(observation: Observation) -> None:
    """Under `torch.use_deterministic_algorithms(True)`, a call that is repeated from the same seed
    returns the same bits, or the layer raises RuntimeError.

    Two calls on equal arguments are made under this setting. Their results are compared bit for
    bit, and so are the gradients, if there are any.

    Catches kernels that ignore the setting.
    """
    with _use_deterministic_algorithms():
        try:
            _assert_same_bits(
                observation.second_call(),
                observation.second_call(),
                DETERMINISTIC + SAME_BITS,
                DETERMINISTIC + SAME_GRADIENTS,
            )
        except Raised as raised:
            if isinstance(raised.error, RuntimeError) and "determinis" in read_message(
                raised.error
            ):
                raise Unsupported(str(raised)) from raised
            raise


@rule(
    "use.random.restored",
    when=has_active_dropout & one_in(6, 4),
    id="side-effects.restored-generator",
    needs=(Feature.FORKED_GENERATORS,),
    presupposes=(Fact.CALL, *REPEATED_CALLS, "side-effects.same-bits", "dropout.reproducible"),
)
def restored_generator(observation: Observation) -> None:
    """A call with dropout inside `torch.random.fork_rng` drops the same values as a call made after
    the generators are restored.

    Some numbers are drawn first, so that the generators are not as after `torch.manual_seed`. Both
    calls are made on equal arguments. Their results must agree up to the rounding of sums that are
    added in another order.

    Catches masks that use a generator of the layer, or that depend on the number of the call.
    """
    device = torch.device(observation.subject.device)
    _, prepared = observation.call, observation.prepared  # made before the generators are forked
    torch.rand(3, device=device)
    with fork_generators(device):
        first = perform_call(prepared, observation.case, observation.build_arguments()).results
    second = perform_call(prepared, observation.case, observation.build_arguments())
    is_default = device.type in ("cpu", "cuda")
    snippet = FORKED.format(kind="" if is_default else f"device_type={device.type!r}")
    case = observation.case
    threshold = oracle.FINE if case.dtype.is_half else oracle.COARSE
    for name, found in second.results.items():
        if is_visible(case, found, first[name], threshold):
            assert_identical(name, found, first[name], snippet, case=case, when="after fork_rng")


@contextmanager
def _use_deterministic_algorithms() -> Iterator[None]:
    """Return a context that makes torch use deterministic algorithms."""
    # This function does the same as use_deterministic_algorithms, without importing the compiler.
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


def _assert_same_bits(
    first: Observation,
    second: Observation,
    of_results: Snippet = SAME_BITS,
    of_gradients: Snippet = SAME_GRADIENTS,
) -> None:
    """Raise Violation if the results or the gradients of two calls differ in any bit.

    Raises Unsupported if the device is not set up to give the same bits.
    """
    if reason := explain_nondeterminism(first.subject.device):
        raise Unsupported(reason)
    for name, found in second.results.items():
        quantity, expected = f"{name} of a repeated call", first.get_result(name)
        assert_identical(quantity, found, expected, of_results, case=first.case)
    if has_known_gradients(first.case) and first.subject.offers(Feature.GRADIENTS):
        for name, gradient in first.gradients.items():
            found, quantity = second.gradients[name], f"gradient of {name} in a repeated call"
            assert_identical(quantity, found, gradient, of_gradients, case=first.case)
