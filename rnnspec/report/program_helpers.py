"""The functions that the last lines of reproduction programs call."""

from __future__ import annotations

from rnnspec.rulekit.snippet import Helper

DATA = """def data(result):
    return result.data if isinstance(result, torch.nn.utils.rnn.PackedSequence) else result"""
CLOSE = """def close(got, expected):
    torch.testing.assert_close(
        {got}, {expected}, rtol={relative}, atol={tolerance}, equal_nan=True
    )"""
SPREAD = """def spread(result):
    weights = torch.arange(1.0, result.numel() + 1).reshape(result.shape).to(result)
    return (result * weights / result.numel()).sum()"""
SPREAD_STATES = """def spread(result):
    if isinstance(result, tuple):
        return sum(map(spread, result))
    weights = torch.arange(1.0, result.numel() + 1).reshape(result.shape).to(result)
    return (result * weights / result.numel()).sum()"""
LIST_TENSORS = """def list_tensors(states):
    if isinstance(states, torch.Tensor):
        return [states]
    return [each for state in states for each in list_tensors(state)]"""
MAP_STATES = """def map_states(function, states):
    return tuple(map(function, states)) if isinstance(states, tuple) else function(states)"""
NAMED = """def named(each):
    own = dict(each.named_parameters(remove_duplicate=False))
    return {name: own[name] for name in dict(reference.named_parameters())}"""
RENAMED = """def named(each):
    own = dict(each.named_parameters()).values()
    return dict(zip(dict(reference.named_parameters()), own))"""
"""The same function for a subject with other names, in the documented order."""
PLACE = """def place(each, name):
    return each, name"""
OTHER_PLACE = """def place(each, name):
    holder, _, leaf = (places[name] if each is layer else name).rpartition(".")
    return each.get_submodule(holder), leaf"""
"""The same function for a subject with other names."""
OF_STATES = {Helper.LIST_TENSORS: LIST_TENSORS, Helper.MAP_STATES: MAP_STATES}
"""The functions about one or two states, in the order of their definition in programs."""
