"""Smallest examples of what PyTorch does not keep, and of what it does not check.

Each function returns whether the installed torch shows it on this machine. `python
conformance/unkept.py` prints all answers as JSON, and with a folder, it writes them there.
"""

from __future__ import annotations

import inspect
import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def device_by_position_is_refused() -> bool:
    """The signature of nn.RNN ends with device and dtype, which cannot be passed by position."""
    try:
        nn.RNN(4, 6, 1, "tanh", True, False, 0.0, False, "cpu")
    except (TypeError, ValueError):
        return True
    return False


def integer_by_position_is_a_projection() -> bool:
    """An integer in the place of `device` gives a GRU a projection, which then cannot be called."""
    layer = nn.GRU(4, 6, 1, True, False, 0.0, False, 3)
    try:
        layer(torch.zeros(5, 2, 4))
    except RuntimeError:
        return True
    return False


def nonlinearity_by_position_is_a_bias() -> bool:
    """The fourth argument of nn.RNN is shown as `nonlinearity`, and read as `bias`."""
    return bool(nn.RNN(4, 6, 1, "relu").nonlinearity == "tanh")


def documented_state_name_is_refused() -> bool:
    """The pages of nn.GRU and nn.LSTM call the second input h_0, which is no keyword."""
    try:
        nn.GRU(4, 6)(torch.zeros(5, 2, 4), h_0=torch.zeros(1, 2, 6))
    except TypeError:
        return True
    return False


def printed_program_differs_from_the_layer() -> bool:
    """The program on the page of nn.RNN does not compute what the layer computes."""
    layer, x = nn.RNN(1, 1), torch.ones(2, 1, 1)
    page = str(inspect.getdoc(nn.RNN)).partition(".. code-block:: python")[2]
    if not page:
        return False
    sizes = {"input_size": 1, "hidden_size": 1, "num_layers": 1, "batch_first": False}
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    scope: dict[str, Any] = {name: [getattr(layer, f"{name}_l0")] for name in names}
    scope |= {"torch": torch, "nn": nn, "rnn": layer, **sizes}
    exec(textwrap.dedent(page.partition("\nArgs:")[0]), scope)
    layer, program = scope["rnn"], scope["forward"]
    with torch.no_grad():
        return not torch.allclose(program(x)[0], layer(x)[0], atol=1e-5)


def nan_reaches_the_row_before() -> bool:
    """In bfloat16, the matrix product lets a NaN of one row into the row before it."""
    x, w = torch.ones(17, 5).bfloat16(), torch.ones(115, 5).bfloat16()
    x[3] = float("nan")
    rows = nn.functional.linear(x, w).isnan().any(dim=1)
    return bool(rows[2])


def nan_reaches_another_sample() -> bool:
    """In bfloat16, a NaN in one sample reaches the results of another sample of the batch."""
    layer = nn.RNN(5, 115).bfloat16()
    x = torch.ones(1, 17, 5).bfloat16()
    x[0, 3] = float("nan")
    return bool(layer(x)[0][0, 2].isnan().any())


def extra_rows_of_a_state_are_dropped() -> bool:
    """With unsorted packed input, h_0 may have more rows than there are sequences."""
    x = pack_padded_sequence(torch.zeros(4, 3, 2), [2, 4, 3], enforce_sorted=False)
    _, h_n = nn.GRU(2, 6)(x, torch.zeros(1, 5, 6))
    return bool(h_n.shape == (1, 3, 6))


def lstm_accepts_a_wrong_number_of_features() -> bool:
    """Without an initial state, nn.LSTM accepts an input with a wrong number of features."""
    try:
        nn.LSTM(13, 4, 2)(torch.zeros(5, 3, 2))
    except RuntimeError:
        return False
    return True


def packed_lstm_accepts_a_wrong_cell_state() -> bool:
    """With packed input, nn.LSTM accepts a c_0 for one sequence in a batch of three."""
    x = pack_padded_sequence(torch.zeros(4, 3, 2), [4, 3, 2])
    try:
        nn.LSTM(2, 6)(x, (torch.zeros(1, 3, 6), torch.zeros(1, 1, 6)))
    except RuntimeError:
        return False
    return True


def too_large_lengths_are_packed() -> bool:
    """A length beyond the padded sequence is packed, and cannot be unpacked again."""
    packed = pack_padded_sequence(torch.zeros(5, 2, 1), [7, 4])
    try:
        pad_packed_sequence(packed)
    except RuntimeError:
        return int(packed.batch_sizes.sum()) > len(packed.data)
    return False


def unpadding_transposes_the_argument() -> bool:
    """`unpad_sequence` changes the shape of the tensor that it is given."""
    padded = torch.zeros(5, 2, 1)
    nn.utils.rnn.unpad_sequence(padded, torch.tensor([5, 3]))
    return padded.shape == (2, 5, 1)


EXAMPLES: tuple[Callable[[], bool], ...] = (
    device_by_position_is_refused,
    integer_by_position_is_a_projection,
    nonlinearity_by_position_is_a_bias,
    documented_state_name_is_refused,
    printed_program_differs_from_the_layer,
    nan_reaches_the_row_before,
    nan_reaches_another_sample,
    lstm_accepts_a_wrong_number_of_features,
    extra_rows_of_a_state_are_dropped,
    packed_lstm_accepts_a_wrong_cell_state,
    too_large_lengths_are_packed,
    unpadding_transposes_the_argument,
)


def format_answers() -> str:
    """Return as JSON whether the installed torch shows each example."""
    answers = {example.__name__: example() for example in EXAMPLES}
    return json.dumps({"torch": torch.__version__, "shows": answers}, indent=1) + "\n"


def main(folder: str | None = None) -> None:
    """Print the answers, or write them to `torch-RELEASE/unkept.json` in a folder."""
    if folder is None:
        sys.stdout.write(format_answers())
        return
    path = Path(folder) / f"torch-{'.'.join(torch.__version__.split('.')[:2])}" / "unkept.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(format_answers(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
