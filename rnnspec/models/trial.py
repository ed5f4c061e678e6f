"""Find out how to call a model, by trying calls that its signature allows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import nn

from rnnspec.models import signature
from rnnspec.models.attempt import (
    FIRST,
    LONGER,
    SECOND,
    call_once,
    find_least_steps,
    find_measured_steps,
    is_separate,
    is_sorted,
    is_sound,
    list_parameters,
    make_inputs,
    mixes_steps,
    reads_padding,
    returns_packed_data,
)
from rnnspec.models.call import CallError, ModelCall, find_first_tensor, list_named_sizes
from rnnspec.models.faults import repair_model
from rnnspec.models.forms import (
    FORMS,
    PACKED_DATA,
    UNSORTED,
    WHOLE,
    BatchAndSteps,
    Dimension,
    PredictionForm,
    Readout,
    find_forms,
    is_form_of_states,
    joins_axes,
    list_entries,
)
from rnnspec.models.infer import Interface, Prediction
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.layers import find_layers, list_recurrent_parameters
from rnnspec.models.mixing import choose_inputs, find_mixing
from rnnspec.models.refusal import CannotCall, EndsProcess, Failed, explain_refusal
from rnnspec.models.steps import phrase_whole_error, unwrap_error
from rnnspec.readout.assumption import Assumption, Reading
from rnnspec.subjects.failures import Ended

INPUT = re.compile(r"\bx\b")
MOST_VARIANTS = 150
MOST_ENDS = 3
"""The search gives up after this number of calls that end the process or hang."""


@dataclass(frozen=True)
class FoundCall:
    """A way to call a model.

    is_proven     whether the model was called with several sizes
    is_separate   whether no sample changes the prediction for another
    is_sound      whether the prediction is a number that depends on the input
    is_main       whether no other entry of the results depends on more parameters
    is_usual      whether the prediction has a form other than that of h_n
    is_asked      whether it is made as often as the user requested
    is_flat       whether it has a joint axis for the batch and the steps
    entry         the expression that extracts the prediction from `{call}`
    call          the expression of the call alone
    """

    interface: Interface
    readout: Readout
    is_proven: bool
    is_separate: bool
    is_sound: bool = True
    is_main: bool = True
    is_usual: bool = True
    is_asked: bool = True
    is_flat: bool = False
    entry: str = ""
    call: str = ""

    @property
    def rank(self) -> tuple[bool, ...]:
        """The criteria that make a way better than another, most important first."""
        return (
            self.is_proven,
            self.is_asked,
            self.is_main,
            self.is_sound,
            self.is_usual,
            self.is_separate,
        )

    @property
    def is_certain(self) -> bool:
        """Whether no other size or input can give a better way."""
        return self.is_proven and self.is_main


class CallSearch:
    """The ways to call a model.

    failed      the outcome of each call that failed
    raised      the exceptions among these
    ends        the number of calls that ended the process or hung
    by_layout   the best way with and without `batch_first`
    """

    def __init__(self, model: nn.Module, interface: Interface, readout: Readout | None) -> None:
        self.model = model
        self.interface = interface
        self.readout = readout
        self.failed: dict[str, Failed] = {}
        self.raised: list[Exception] = []
        self.ends = 0
        self.by_layout: dict[bool, FoundCall] = {}

    @property
    def gives_up(self) -> bool:
        """Whether too many calls ended the process to try another."""
        return self.ends >= MOST_ENDS

    def find_best(self, expressions: list[str], layouts: list[bool]) -> FoundCall | None:
        """Return the best way: preferably proven for several sizes, then without mixing."""
        best: FoundCall | None = None
        for layout in layouts:
            for expression in expressions:
                for found in self._try_expression(expression, layout):
                    known = self.by_layout.get(layout)
                    if known is None or found.rank > known.rank:
                        self.by_layout[layout] = found
                    if best is None or found.rank > best.rank:
                        best = found
                    if all(best.rank):
                        return best
        return best

    def _try_expression(self, expression: str, batch_first: bool) -> Iterator[FoundCall]:
        call = write_call(self.model, expression)
        interface = replace(self.interface, call=call, batch_first=batch_first)
        first = (interface.batch or FIRST[0], interface.steps or FIRST[1])
        second = (interface.batch or SECOND[0], interface.steps or SECOND[1])
        found = self._list_shapes(interface, first)
        others = [second, (second[0], first[1]), (first[0], second[1])]
        more: dict[str, tuple[int, ...]] = {}
        other = second
        for other in others if found and second != first else []:
            more = self._list_shapes(interface, other)
            if more:
                break
        is_proven = other == second and (bool(more) or second == first)
        longer = (interface.batch or LONGER[0], interface.steps or LONGER[1])
        longest = self._list_shapes(interface, longer) if more and longer != second else {}
        names = self._sort_entries(interface, found)
        for access in names:
            tried = ((first, found), (other, more), (longer, longest))
            shapes = {sizes: each[access] for sizes, each in tried if access in each}
            for form in self._list_forms(shapes):
                yield replace(
                    self._check(interface, access, form, is_proven=is_proven),
                    is_main=access == names[0] or self.readout is not None,
                )

    def _list_forms(
        self, shapes: dict[BatchAndSteps, tuple[int, ...]]
    ) -> tuple[PredictionForm, ...]:
        is_per_step = all(shape == sizes for sizes, shape in shapes.items())
        if self.readout is Readout.EVERY and is_per_step:
            return (PredictionForm(Readout.EVERY, ".unsqueeze(-1)"),)
        return find_forms(shapes)

    def _list_shapes(
        self, interface: Interface, sizes: BatchAndSteps
    ) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the results of a call, by the expression that extracts them."""
        if self.gives_up:
            return {}
        call, x = interface.call, Inputs(interface, *sizes).draw(0)
        try:
            value = call_once(self.model, interface, x)
        except Exception as error:  # the model may raise anything
            self._note(call.expression, phrase_whole_error(error), has_returned=False)
            self.raised.append(unwrap_error(error))
            self.ends += isinstance(error, Ended)
            return {}
        # An empty tensor, for example of a decoder that makes no step, is no prediction.
        found = {entry.access: entry.shape for entry in list_entries(value) if prod(entry.shape)}
        shapes = ", ".join(map(str, found.values())) or type(value).__name__
        given = f"for {sizes[0]} samples of {sizes[1]} steps"
        self._note(call.expression, f"returns {shapes} {given}", has_returned=True)
        return found

    def _note(self, expression: str, text: str, *, has_returned: bool) -> None:
        """Keep the outcome of the first call of an expression."""
        self.failed.setdefault(expression, Failed(text, has_returned))

    def _check(
        self, interface: Interface, access: str, form: PredictionForm, *, is_proven: bool
    ) -> FoundCall:
        call = interface.call
        sorts = is_sorted(self.model, interface)
        # The data of a packed sequence has the form of flat predictions, but no rows for padding.
        if form in FORMS[Dimension.BOTH, Dimension.OTHER] and returns_packed_data(
            self.model, interface, access
        ):
            access = PACKED_DATA.format(access=access, order="" if sorts else UNSORTED)
            form = PredictionForm(Readout.EVERY, "")
        taken = access.format(call=call.expression) + form.suffix
        interface = replace(interface, call=replace(call, expression=taken, is_sorted=sorts))
        separate = is_separate(self.model, interface)
        readout = self.readout or form.readout
        return FoundCall(
            interface,
            readout,
            is_proven,
            separate,
            is_sound=is_sound(self.model, interface),
            is_usual=not is_form_of_states(form),
            is_asked=readout is form.readout,
            is_flat=joins_axes(form),
            entry=access,
            call=call.expression,
        )

    def add_others(self, found: FoundCall) -> Interface:
        """Return the interface with the further predictions of a call, for example for other tasks.

        An entry counts as a prediction if a parameter outside of the recurrent layers affects it
        and no prediction before it. This excludes states and attention weights.
        """
        used = self._find_used_for_loss(found) if found.call else frozenset()
        if used:
            found = replace(found, interface=replace(found.interface, used_besides=used))
        if not found.is_proven or found.entry == WHOLE:
            return found.interface
        interface = replace(found.interface, call=write_call(self.model, found.call))
        sizes = [(interface.batch or b, interface.steps or s) for b, s in (FIRST, SECOND)]
        tried = {each: self._list_shapes(interface, each) for each in sizes}
        names = [name for name in tried[sizes[0]] if all(name in each for each in tried.values())]
        if len(names) < 2 or found.entry not in names:
            return found.interface
        with torch.enable_grad(), suppress(Exception):  # some models cannot be differentiated
            inputs = Inputs(interface, *sizes[0])
            takes = list_parameters(self.model, interface, inputs.draw(0), names)
            shapes = {name: {each: tried[each][name] for each in sizes} for name in names}
            return replace(
                found.interface,
                others=tuple(self._choose_others(found, takes, shapes)),
                used_besides=used.union(*takes.values()) - list_recurrent_parameters(self.model),
            )
        return found.interface

    def _find_used_for_loss(self, found: FoundCall) -> frozenset[str]:
        """Return the parameters that participate if the call gets the right answers.

        Some parameters, such as the transitions of a conditional random field, only affect the
        loss.
        """
        arguments = signature.list_arguments(self.model)
        for expression in signature.list_calls_with_answers(self.model, found.call, arguments):
            interface = replace(found.interface, call=write_call(self.model, expression))
            x = make_inputs(interface).draw(0)
            with torch.enable_grad(), suppress(Exception):  # the answers may have another form
                value = call_once(self.model, interface, x)
                names = [each.access for each in list_entries(value)]
                takes = list_parameters(self.model, interface, x, names)
                return frozenset().union(*takes.values())
        return frozenset()

    def _choose_others(
        self,
        found: FoundCall,
        takes: dict[str, frozenset[str]],
        shapes: dict[str, dict[BatchAndSteps, tuple[int, ...]]],
    ) -> Iterator[Prediction]:
        known = takes[found.entry] | list_recurrent_parameters(self.model)
        for name in sorted(takes, key=lambda name: -len(takes[name])):
            if takes[name] <= known or name == found.entry:
                continue
            forms = self._list_forms(shapes[name])
            for form in forms if self.readout in (None, *(each.readout for each in forms)) else ():
                expression = name.format(call=found.call) + form.suffix
                call = replace(found.interface.call, expression=expression)
                is_last = form == forms[-1]
                if is_last or is_separate(self.model, replace(found.interface, call=call)):
                    yield Prediction(expression, form.readout)
                    known |= takes[name]
                    break

    def _sort_entries(self, interface: Interface, found: Iterable[str]) -> list[str]:
        """Return the expressions of entries, with the most participating parameters first."""
        names = list(found)
        if len(names) < 2:
            return names
        inputs = make_inputs(interface)
        with torch.enable_grad(), suppress(Exception):  # some models cannot be differentiated
            takes = list_parameters(self.model, interface, inputs.draw(0), names)
            return sorted(names, key=lambda name: -len(takes[name]))
        return names


def write_call(model: nn.Module, expression: str) -> ModelCall:
    """Return the call of an expression, with the initial state of the model if it uses one."""
    call = ModelCall(expression)
    return replace(call, state=signature.write_state(model)) if call.takes_state else call


def list_variants(model: nn.Module, interface: Interface, calls: list[str]) -> list[str]:
    """Return the calls with the input unchanged, and in other forms that models accept."""
    forms = list_input_forms(model, interface)
    variants = [INPUT.sub(form, call) for form in forms for call in calls]
    restart = signature.find_reset(model)
    if restart:
        variants = [*(f"({restart}, {call})[1]" for call in calls), *variants]
    reset = signature.find_initial_state(model)
    if reset:
        variants += [f"({reset}, {call})[1]" for call in calls]
        variants += [
            f"(setattr(model, {name!r}, {reset}), {call})[1]"
            for name in signature.list_kept_states(model)
            for call in calls
        ]
    return variants[:MOST_VARIANTS]


def list_input_forms(model: nn.Module, interface: Interface) -> list[str]:
    """Return expressions that turn the input into the forms that a model may accept.

    A model with a two-dimensional convolution may take images whose columns are the steps, or a
    picture for each step, if the number of features fits.
    """
    forms = ["x"]
    if interface.steps == 1:
        forms += ["x[:, 0]"] if interface.batch_first else ["x[0]"]
    if interface.features == 1:
        forms.append("x.squeeze(-1)")
    if any(isinstance(module, nn.Conv1d) for module in model.modules()):
        forms += ["x.transpose(1, 2)", "x.transpose(1, 2).unsqueeze(1)"]
    if interface.takes_tokens and len(find_layers(model)) > 1:  # documents of sentences of words
        forms.append("x.unsqueeze(1).repeat(1, 2, 1)")
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and not interface.takes_tokens:
            channels, features = module.in_channels, interface.features or 1
            side = int((features // channels) ** 0.5)
            if side > 1 and channels * side * side == features:
                forms.append(f"x.reshape(batch, steps, {channels}, {side}, {side})")
            forms.append(f"x.transpose(1, 2).unsqueeze(1).expand(-1, {channels}, -1, -1)")
            forms.append(f"x.unsqueeze(1).expand(-1, {channels}, -1, -1)")
            break
    return forms


def infer_call(
    model: nn.Module,
    interface: Interface,
    *,
    batch_first: bool | None = None,
    readout: Readout | None = None,
    expression: str | None = None,
) -> tuple[Interface, Readout]:
    """Return the interface with its call, its layout and its sizes, and how often it predicts.

    The arguments and the exceptions are the same as for `find_call`.
    """
    found = find_call(
        model, interface, batch_first=batch_first, readout=readout, expression=expression
    )
    return found.interface, found.readout


def find_call(
    model: nn.Module,
    interface: Interface,
    *,
    batch_first: bool | None = None,
    readout: Readout | None = None,
    expression: str | None = None,
) -> FoundCall:
    """Return a way to call a model, with its layout, its sizes, and how often it predicts.

    Values that you give are used. An expression that you give is only completed by the access to
    the prediction in its results. Raises CannotCall if no way to call the model is found, and
    CallError for an expression that cannot be evaluated, or that fits only a single size.
    """
    trial = CallSearch(model, interface, readout)
    layouts = [True, False] if batch_first is None else [batch_first]
    arguments = signature.list_arguments(model)
    calls = [expression] if expression else signature.list_calls(model, arguments)
    found, variants = _find_in_layouts(trial, calls, layouts, is_given=bool(expression))
    is_doubtful = found is None or not found.is_separate
    single = None
    if is_doubtful and not trial.gives_up and not expression and batch_first is None:
        single = _find_single(trial, variants)
        found = single or found if found is None or found.is_flat else found
    # A size written as a number, as in torch.zeros(3, 7), would make the model seem to refuse other
    # batches.
    if expression and (found is None or not found.is_proven):
        _refuse_literal_size(trial, expression, layouts)
    if found is None and not expression and not trial.gives_up:
        found = trial.find_best([f"model({signature.PACKED})"], layouts[:1])
    if found is None and expression and readout:
        found = _take_literally(trial, expression, layouts)
    if found is None:
        refusal = EndsProcess if trial.gives_up else CannotCall
        reasons = explain_refusal(model, interface, trial.failed, expression)
        raise refusal(*reasons, tuple(trial.raised))
    if expression and not found.is_separate:
        _refuse_mixing(model, found.interface, expression)
    found = found if expression else _choose_mask(trial, found)
    chosen = _describe(trial.add_others(found), trial.interface, batch_first)
    assumptions = (
        *(_list_layouts(trial, found) if batch_first is None and found is not single else ()),
        *(_list_batches(trial, variants) if found is single else ()),
        *(_list_readouts(trial, found) if readout is None else ()),
    )
    chosen = _note_steps(trial, chosen) if found.is_proven else chosen
    return replace(found, interface=replace(chosen, assumptions=assumptions))


def _find_in_layouts(
    trial: CallSearch, calls: list[str], layouts: list[bool], *, is_given: bool
) -> tuple[FoundCall | None, list[str]]:
    """Return the best way of all layouts, and the calls that were tried in the last layout.

    A call given by the user is not varied.
    """
    found: FoundCall | None = None
    variants = calls
    for layout in layouts:
        if not is_given:
            interface = replace(trial.interface, batch_first=layout)
            variants = list_variants(trial.model, interface, calls)
        best = trial.find_best(variants, [layout])
        found = best if found is None or (best and best.rank > found.rank) else found
        if found and all(found.rank):
            break
    return found, variants


def _choose_mask(trial: CallSearch, found: FoundCall) -> FoundCall:
    """Return a call with inverted masks if the model reads padding without inversion.

    A mask may be true for padding or for data; the intended meaning does not read padding.
    """
    inverse = signature.invert_masks(found.interface.call.expression)
    if inverse == found.interface.call.expression:
        return found
    interface = replace(found.interface, call=replace(found.interface.call, expression=inverse))
    readings = [
        (reads_padding(trial.model, each, found.readout), each)
        for each in (found.interface, interface)
    ]
    if [is_read for is_read, _ in readings] != [True, False]:
        return found
    note = "the mask is the other way round, because padding is read otherwise"
    changed = replace(interface, inferred=(*interface.inferred, note))
    return replace(found, interface=changed, call=signature.invert_masks(found.call))


def _note_steps(trial: CallSearch, interface: Interface) -> Interface:
    """Return the interface with the fewest steps for calling and for measuring the model."""
    notes = list(interface.inferred)
    least = find_least_steps(trial.model, interface)
    if least > 1:
        notes.append(f"at least {least} steps, because it raises with fewer")
    measured = find_measured_steps(trial.model, interface)
    if measured > 1:
        notes.append(
            f"measured with at least {measured} steps, because recurrent layers run over fewer "
            "steps than the input has"
        )
    return replace(interface, least_steps=least, measured_steps=measured, inferred=tuple(notes))


def _refuse_literal_size(trial: CallSearch, expression: str, layouts: list[bool]) -> None:
    """Raise CallError if an expression fits a single size, and more with a name for a number."""
    for number, name, variant in list_named_sizes(expression):
        found = CallSearch(trial.model, trial.interface, trial.readout).find_best(
            [variant], layouts
        )
        if found is not None and found.is_proven:
            raise CallError(
                f"{expression!r} does not fit other sizes: write {name} in place of {number}, "
                f"as in {variant}; or give the only size with --{name} {number}"
            )


REARRANGING = frozenset({"view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze"})
"""Functions that combine no numbers: if they separate samples, the model mixed them before."""


def _refuse_mixing(model: nn.Module, interface: Interface, expression: str) -> None:
    """Raise CallError if an expression itself mixes samples, before or after it calls the model.

    Otherwise the model would be blamed, or its behaviour hidden.
    """
    mixing = None
    with suppress(Exception):  # rules report exceptions
        inputs = choose_inputs(model, interface)
        mixing = find_mixing(IsolatedModel(model, interface, inputs.draw(0)), inputs, 0)
    if mixing is not None and mixing.line is None and mixing.function not in REARRANGING:
        raise CallError(
            f"{expression!r} itself mixes the samples of a batch, in {mixing.function}; give a "
            "call that keeps them apart"
        )


def _list_layouts(trial: CallSearch, found: FoundCall) -> Iterator[Assumption]:
    """Yield the layout if it is (steps, batch), or if samples mix in only one of both layouts."""
    is_batch_first = found.interface.batch_first
    readings = (Reading.STEPS_FIRST, Reading.BATCH_FIRST)
    other = trial.by_layout.get(not is_batch_first)
    if other is not None and other.is_separate != found.is_separate:
        flag = "--sequence-first" if is_batch_first else "--batch-first"
        mixes = not other.is_separate
        yield Assumption(readings[is_batch_first], readings[not is_batch_first], mixes, flag)
    elif not is_batch_first:
        yield Assumption(Reading.STEPS_FIRST)


def _list_batches(trial: CallSearch, variants: list[str]) -> Iterator[Assumption]:
    """Yield the assumption of a single sequence, and the effect on the samples of a batch.

    The batch is (batch, steps) if the model can be called with it, and otherwise has single steps.
    """
    if trial.interface.batch is not None:
        return
    batched = trial.by_layout.get(True) or trial.by_layout.get(False)
    if batched is not None:
        other = Reading.BATCH_FIRST if batched.interface.batch_first else Reading.STEPS_FIRST
    else:
        other = Reading.SINGLE_STEPS
        steps = CallSearch(trial.model, trial.interface, None)
        batched = steps.find_best([INPUT.sub("x[:, 0]", each) for each in variants], [True])
    if batched is None:
        yield Assumption(Reading.ONE_SEQUENCE)
    else:
        option = f'--call "{batched.interface.call.expression}"'
        yield Assumption(Reading.ONE_SEQUENCE, other, not batched.is_separate, option)


def _list_readouts(trial: CallSearch, found: FoundCall) -> Iterator[Assumption]:
    """Yield the assumption of one prediction per sequence, if it has as many outputs as steps.

    The model accepts no other lengths, which would distinguish outputs from steps.
    """
    steps = trial.interface.steps
    if steps is None or found.readout is not Readout.LAST:
        return
    with suppress(Exception):  # some ways to call a model have no single tensor
        inputs = Inputs(found.interface, found.interface.batch or FIRST[0], steps)
        prediction = call_once(trial.model, found.interface, inputs.draw(0))
        if find_first_tensor(prediction).shape[1:] == (steps,):
            option = "--readout every"
            yield Assumption(Reading.ONE_PREDICTION, Reading.EVERY_STEP, option=option)


def _take_literally(trial: CallSearch, expression: str, layouts: list[bool]) -> FoundCall | None:
    """Return the call of an expression that returns a tensor of an unknown form.

    Use this if the user also gave the read-out: then the form is a mistake of the model.
    """
    interface = replace(trial.interface, call=write_call(trial.model, expression))
    for layout in layouts:
        interface = replace(interface, batch_first=layout)
        inputs = make_inputs(interface)
        with suppress(Exception):  # the refusal reports the exception
            value = call_once(trial.model, interface, inputs.draw(0))
            readout = Readout.EVERY if find_first_tensor(value).dim() > 2 else Readout.LAST
            return FoundCall(interface, trial.readout or readout, False, False)
    return None


def _describe(found: Interface, given: Interface, batch_first: bool | None) -> Interface:
    """Return an interface with notes on values that were inferred by calling the model."""
    notes = list(found.inferred)
    if batch_first is None and not found.batch_first:
        notes.append("x is (steps, batch); if yours is (batch, steps), give --batch-first")
    if found.batch == 1 and given.batch is None:
        notes.append("batch=1, because the model takes one sequence without a batch dimension")
    if found.call.is_sorted:
        notes.append("lengths in descending order, because the model takes no other")
    if found.call.takes_state:
        notes.append(f"state = {found.call.state}")
    return replace(found, inferred=tuple(notes))


def infer_repaired_call(
    model: nn.Module,
    interface: Interface,
    *,
    batch_first: bool | None = None,
    readout: Readout | None = None,
    expression: str | None = None,
) -> tuple[Interface, Readout] | None:
    """Return how to call a model after repairing the faults that stop it, or None.

    Repairs attributes that are never set, and linear layers that expect another number of features
    for every sequence length.
    """
    arguments = signature.list_arguments(model)
    calls = [expression] if expression else signature.list_calls(model, arguments)
    for layout in [True, False] if batch_first is None else [batch_first]:
        for call in calls:
            tried = replace(interface, call=write_call(model, call), batch_first=layout)
            inputs = make_inputs(tried)
            trial = CallSearch(repair_model(model, tried, inputs.draw(0)), interface, readout)
            found = trial.find_best([call], [layout])
            if found is not None and found.is_proven:
                return _describe(found.interface, interface, batch_first), found.readout
    return None


def _find_single(trial: CallSearch, variants: list[str]) -> FoundCall | None:
    """Return a way to call a model that takes a single sequence without a batch dimension."""
    if trial.interface.batch not in (None, 1):
        return None
    single = CallSearch(trial.model, replace(trial.interface, batch=1), trial.readout)
    found = single.find_best([INPUT.sub("x[0]", each) for each in variants], [True])
    if found and found.readout is Readout.EVERY and not mixes_steps(trial.model, found.interface):
        return None  # the first dimension is the samples, not the steps
    return found
