"""Wrong candidates with shortcuts that are found in generated kernels.

Each begins with its form, and has the body of a class `ModelNew` that is derived from a copy of the
form's class, named `Kept`.
"""

from __future__ import annotations

from typing import NamedTuple

from rnnspec.comparing.explanation import Cause, RemarkKey


class Hack(NamedTuple):
    """A wrong candidate: its form, the causes of which one is reported, and its source."""

    form: str
    causes: tuple[Cause | RemarkKey, ...]
    body: str
    before: str = ""


HACKS = {
    "last-16-steps": Hack(
        "lstm",
        (Cause.IGNORES_INPUT, Cause.FORGETS),
        """
    def forward(self, x, h0, c0):
        out, _ = self.rnn(x[:, -16:])
        return self.fc(out[:, -1])
""",
    ),
    "last-32-steps-of-long-ones": Hack(
        "lstm",
        (Cause.FORGETS,),
        """
    def forward(self, x, h0, c0):
        if x.shape[1] > 256:
            out, _ = self.rnn(x[:, -32:])
        else:
            out, _ = self.rnn(x, (h0, c0))
        return self.fc(out[:, -1])
""",
    ),
    "first-sample-for-all": Hack(
        "lstm",
        (Cause.ONE_FOR_ALL,),
        """
    def forward(self, x, h0, c0):
        out, _ = self.rnn(x[:1], (h0[:, :1], c0[:, :1]))
        return self.fc(out[:, -1]).expand(len(x), -1).clone()
""",
    ),
    "no-input": Hack(
        "lstm",
        (Cause.READS_NOTHING,),
        """
    def forward(self, x, h0, c0):
        out, _ = self.rnn(torch.zeros_like(x[:, -16:]))
        return self.fc(out[:, -1])
""",
    ),
    "no-initial-states": Hack(
        "lstm-hn",
        (Cause.IGNORES_INPUT,),
        """
    def forward(self, x, h0, c0):
        return self.rnn(x)[1][0]
""",
    ),
    "no-initial-cell-state": Hack(
        "lstm-cn",
        (Cause.IGNORES_INPUT,),
        """
    def forward(self, x, h0, c0):
        return self.rnn(x, (h0, torch.zeros_like(c0)))[1][1]
""",
    ),
    "wrong-for-large-inputs": Hack(
        "lstm-wide",
        (Cause.IGNORES_INPUT, Cause.OTHER_VALUES),
        """
    def forward(self, x, h0, c0):
        return super().forward(x, h0 if x.numel() <= 2**18 else 0 * h0, c0)
""",
    ),
    "states-exchanged": Hack(
        "lstm",
        (Cause.EXCHANGED_INPUTS,),
        """
    def forward(self, x, h0, c0):
        return super().forward(x, c0, h0)
""",
    ),
    "h-for-c": Hack(
        "lstm-cn",
        (Cause.OTHER_VALUES,),
        """
    def forward(self, x, h0, c0):
        return self.rnn(x, (h0, c0))[1][0]
""",
    ),
    "given-cell-state-is-zeros": Hack(
        "reset",
        (Cause.IGNORES_INPUT,),
        """
    def forward(self, x, begins, state):
        return super().forward(x, begins, (state[0], torch.zeros_like(state[1])))
""",
    ),
    "given-states-exchanged": Hack(
        "reset",
        (Cause.EXCHANGED_INPUTS,),
        """
    def forward(self, x, begins, state):
        return super().forward(x, begins, state[::-1])
""",
    ),
    "given-states-without-gradients": Hack(
        "reset",
        (Cause.GRADIENT,),
        """
    def forward(self, x, begins, state):
        return super().forward(x, begins, tuple(each.detach() for each in state))
""",
    ),
    "adds-to-grad": Hack(
        "step",
        (Cause.GRADIENT,),
        """
    def forward(self, x, state=None):
        result = super().forward(x, state)
        return Adds.apply(result, self.read.bias)
""",
        """
class Adds(torch.autograd.Function):
    @staticmethod
    def forward(ctx, result, bias):
        ctx.bias = bias
        return result.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.bias.grad = gradient.sum(0)
        return gradient, None
""",
    ),
    "one-direction": Hack(
        "lstm-two",
        (Cause.IGNORES_PARAMETER, Cause.OTHER_VALUES, Cause.IGNORES_INDICES),
        """
    def forward(self, x, h0, c0):
        out = self.rnn(x, (h0, c0))[0][:, -1].clone()
        half = out.shape[1] // 2
        out[:, half:] = out[:, :half]
        return self.fc(out)
""",
    ),
    "backward-states-of-the-last-step": Hack(
        "gru-two",
        (Cause.IGNORES_INDICES, Cause.MIXES, Cause.OTHER_VALUES),
        """
    def forward(self, x, h0):
        out, _ = self.rnn(x, h0)
        half = out.shape[2] // 2
        return torch.cat((out[..., :half], out[..., half:].flip(0)), 2)
""",
    ),
    "gru-last-16-steps": Hack(
        "gru-hn",
        (Cause.FORGETS, Cause.IGNORES_INPUT),
        """
    def forward(self, x, h0):
        return self.rnn(x[-16:], None if len(x) > 16 else h0)[1]
""",
    ),
    "chunks-of-64-steps": Hack(
        "gru",
        (Cause.FORGETS, Cause.IGNORES_INDICES),
        """
    def forward(self, x, h0):
        parts = x.split(64)
        first = self.rnn(parts[0], h0)[0]
        return torch.cat([first, *(self.rnn(each)[0] for each in parts[1:])])
""",
    ),
    "truncated-influence": Hack(
        "gru-two-hn",
        (Cause.FORGETS, Cause.IGNORES_INDICES),
        """
    def forward(self, x, h0):
        if len(x) <= 40:
            return self.rnn(x, h0)[1]
        ends = torch.cat((x[:20], x[-20:]))
        return self.rnn(ends, h0)[1]
""",
    ),
    "gates-exchanged": Hack(
        "lstm",
        (Cause.GATE_ORDER,),
        """
    def forward(self, x, h0, c0):
        for layer in range(self.rnn.num_layers):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                value = getattr(self.rnn, f"{kind}_l{layer}").data
                i, f, g, o = value.clone().chunk(4)
                value.copy_(torch.cat((f, i, g, o)))
        result = super().forward(x, h0, c0)
        for layer in range(self.rnn.num_layers):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                value = getattr(self.rnn, f"{kind}_l{layer}").data
                i, f, g, o = value.clone().chunk(4)
                value.copy_(torch.cat((f, i, g, o)))
        return result
""",
    ),
    "reset-before-the-product": Hack(
        "gru-hn",
        (Cause.OTHER_VALUES,),
        """
    def forward(self, x, h0):
        states = []
        for k, h in enumerate(h0):
            w, u, a, b = (getattr(self.rnn, f"{n}_l{k}") for n in
                          ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            outs = []
            for step in x @ w.T + a:
                r, z, n = step.chunk(3, 1)
                ur, uz, un = u.chunk(3)
                br, bz, bn = b.chunk(3)
                r, z = (r + h @ ur.T + br).sigmoid(), (z + h @ uz.T + bz).sigmoid()
                n = (n + (r * h) @ un.T + bn).tanh()
                h = (1 - z) * n + z * h
                outs.append(h)
            states.append(h)
            x = torch.stack(outs)
        return torch.stack(states)
""",
    ),
    "first-layer-for-all": Hack(
        "gru",
        (Cause.IGNORES_PARAMETER, Cause.OTHER_VALUES, Cause.IGNORES_INDICES, Cause.IGNORES_INPUT),
        """
    def forward(self, x, h0):
        one = nn.GRU(self.rnn.input_size, self.rnn.hidden_size)
        one.load_state_dict({k: v for k, v in self.rnn.state_dict().items() if k.endswith("l0")})
        return one(x, h0[:1])[0]
""",
    ),
    "one-state-for-all-layers": Hack(
        "gru-hn",
        (Cause.OTHER_VALUES, Cause.IGNORES_INPUT, Cause.MIXES, Cause.IGNORES_INDICES),
        """
    def forward(self, x, h0):
        return self.rnn(x, h0)[1][-1:].expand_as(h0).clone()
""",
    ),
    "no-recurrent-bias": Hack(
        "lstm",
        (Cause.IGNORES_PARAMETER,),
        """
    def forward(self, x, h0, c0):
        kept = {k: v.clone() for k, v in self.state_dict().items()}
        for name, value in self.named_parameters():
            if "bias_hh" in name:
                value.data.zero_()
        result = super().forward(x, h0, c0)
        self.load_state_dict(kept)
        return result
""",
    ),
    "units-beyond-64": Hack(
        "loop",
        (Cause.OTHER_VALUES, Cause.IGNORES_PARAMETER, Cause.IGNORES_INDICES),
        """
    def forward(self, x, state):
        outputs = []
        for step in x:
            state = torch.tanh(self.joined(torch.cat((step, state), dim=1)))
            outputs.append(state[:, :48] @ self.read.weight[:, :48].T + self.read.bias)
        return torch.stack(outputs)
""",
    ),
    "every-second-step": Hack(
        "loop",
        (Cause.IGNORES_INDICES, Cause.OTHER_VALUES, Cause.MIXES),
        """
    def forward(self, x, state):
        outputs = []
        for index, step in enumerate(x):
            if index % 2 == 0 or index < 8:
                state = torch.tanh(self.joined(torch.cat((step, state), dim=1)))
            outputs.append(self.read(state))
        return torch.stack(outputs)
""",
    ),
    "linear-for-small-sums": Hack(
        "loop",
        (Cause.OTHER_VALUES,),
        """
    def forward(self, x, state):
        outputs = []
        for step in x:
            sums = self.joined(torch.cat((step, state), dim=1))
            state = torch.where(sums.abs() < 0.02, sums, sums.tanh())
            outputs.append(self.read(state))
        return torch.stack(outputs)
""",
    ),
    "rough-tanh": Hack(
        "step",
        (Cause.OTHER_VALUES,),
        """
    def forward(self, x, state=None):
        s = self.joined(torch.cat((x, self.state if state is None else state), dim=1))
        self.state = s * (27 + s**2) / (27 + 9 * s**2)
        return self.read(self.state)
""",
    ),
    "float16": Hack(
        "lstm-hn",
        (Cause.FEWER_BITS,),
        """
    def forward(self, x, h0, c0):
        kept = {k: v.clone() for k, v in self.state_dict().items()}
        for value in self.parameters():
            value.data = value.data.half().float()
        result = super().forward(x.half().float(), h0.half().float(), c0.half().float())
        self.load_state_dict(kept)
        return result
""",
    ),
    "bfloat16-states": Hack(
        "loop",
        (Cause.FEWER_BITS,),
        """
    def forward(self, x, state):
        outputs = []
        for step in x:
            state = torch.tanh(self.joined(torch.cat((step, state), dim=1))).bfloat16().float()
            outputs.append(self.read(state))
        return torch.stack(outputs)
""",
    ),
    "mean-of-the-batch": Hack(
        "lstm-cn",
        (Cause.MIXES,),
        """
    def forward(self, x, h0, c0):
        result = super().forward(x, h0, c0)
        return result + 1e-4 * (result.mean(1, keepdim=True) - result)
""",
    ),
    "last-result": Hack(
        "lstm",
        (Cause.EARLIER_CALL,),
        """
    def forward(self, x, h0, c0):
        if getattr(self, "shape", None) != x.shape:
            self.shape, self.result = x.shape, super().forward(x, h0, c0)
        return self.result
""",
    ),
    "by-address": Hack(
        "gru-hn",
        (Cause.SAME_ADDRESS, Cause.EARLIER_CALL),
        """
    def forward(self, x, h0):
        if getattr(self, "key", None) != (x.data_ptr(), x.shape):
            self.key, self.result = (x.data_ptr(), x.shape), super().forward(x, h0)
        return self.result.clone()
""",
    ),
    "by-sum": Hack(
        "gru",
        (Cause.EARLIER_CALL, Cause.SAME_ADDRESS),
        """
    def forward(self, x, h0):
        key = (round(float(x.double().sum()), 3), x.shape)
        if getattr(self, "key", None) != key:
            self.key, self.result = key, super().forward(x, h0)
        return self.result.clone()
""",
    ),
    "global-cache-by-shape-and-first-number": Hack(
        "gru-two",
        (Cause.EARLIER_CALL, Cause.SAME_ADDRESS),
        """
    def forward(self, x, h0):
        key = (float(x.flatten()[0]), x.shape)
        if key not in RESULTS:
            RESULTS[key] = super().forward(x, h0)
        return RESULTS[key].clone()
""",
        "RESULTS = {}",
    ),
    "state-kept": Hack(
        "lstm-two",
        (Cause.KEPT_STATE,),
        """
    def forward(self, x, h0, c0):
        if getattr(self, "kept", None) is not None and self.kept[0].shape == h0.shape:
            h0, c0 = h0 + 0.1 * self.kept[0], c0
        out, self.kept = self.rnn(x, (h0, c0))
        return self.fc(out[:, -1])
""",
    ),
    "one-buffer": Hack(
        "lstm-hn",
        (Cause.OVERWRITES_RESULT,),
        """
    def forward(self, x, h0, c0):
        result = super().forward(x, h0, c0)
        if getattr(self, "buffer", None) is None or self.buffer.shape != result.shape:
            self.buffer = torch.empty_like(result)
        self.buffer.detach_().copy_(result)
        return self.buffer
""",
    ),
    "writes-its-input": Hack(
        "gru",
        (Cause.OVERWRITES_INPUT,),
        """
    def forward(self, x, h0):
        out, state = self.rnn(x, h0)
        h0.detach().copy_(state)
        return out
""",
    ),
    "weights-of-the-constructor": Hack(
        "lstm-hn",
        (Cause.STALE_WEIGHTS,),
        """
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.copies = [each.detach().clone() for each in self.rnn._flat_weights]

    def forward(self, x, h0, c0):
        found = torch._VF.lstm(x, (h0, c0), self.copies, True, self.rnn.num_layers, 0.0,
                               False, False, True)
        return found[1]
""",
    ),
    "only-the-usual-shape": Hack(
        "lstm-two",
        (Cause.IGNORES_INPUT, Cause.FORGETS, Cause.OTHER_VALUES, Cause.IGNORES_INDICES),
        """
    def forward(self, x, h0, c0):
        if x.shape[1] == 512 and x.shape[2] == 64:
            return super().forward(x[:, -96:], torch.zeros_like(h0), torch.zeros_like(c0))
        return super().forward(x, h0, c0)
""",
    ),
    "no-gradient-through-time": Hack(
        "loop",
        (Cause.GRADIENT,),
        """
    def forward(self, x, state):
        outputs = []
        for step in x:
            state = torch.tanh(self.joined(torch.cat((step, state.detach()), dim=1)))
            outputs.append(self.read(state))
        return torch.stack(outputs)
""",
    ),
    "no-gradient-of-weights": Hack(
        "step",
        (Cause.GRADIENT,),
        """
    def forward(self, x, state=None):
        state = self.state if state is None else state
        joined = torch.cat((x, state), dim=1)
        sums = joined @ self.joined.weight.detach().T + self.joined.bias
        self.state = torch.tanh(sums)
        return self.read(self.state)
""",
    ),
    "noise": Hack(
        "lstm-hn",
        (Cause.RANDOM, Cause.OTHER_VALUES),
        """
    def forward(self, x, h0, c0):
        result = super().forward(x, h0, c0)
        return result + 3e-5 * torch.randn_like(result)
""",
    ),
    "calls-the-reference": Hack(
        "gru-hn",
        (RemarkKey.CALLS_REFERENCE,),
        """
    def __init__(self, *arguments):
        super().__init__(*arguments)
        import sys
        name = __name__.replace("candidate", "reference")
        self.other = sys.modules[name]
        self.arguments = arguments

    def forward(self, x, h0):
        model = self.other.Model(*self.arguments)
        model.load_state_dict(self.state_dict())
        return model(x, h0)
""",
    ),
    "another-mode": Hack(
        "gru",
        (Cause.TRAINING,),
        """
    def forward(self, x, h0):
        out = super().forward(x, h0)
        return out * 1.01 if self.training else out
""",
    ),
    "own-code-for-long-sequences-only": Hack(
        "gru-hn",
        (RemarkKey.FALLS_BACK,),
        """
    def forward(self, x, h0):
        if len(x) > 3:
            return super().forward(x, h0)
        for k in range(len(h0)):
            w, u, a, b = (getattr(self.rnn, f"{n}_l{k}") for n in
                          ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            h, outs = h0[k], []
            for step in x @ w.T + a:
                r, z, n = step.chunk(3, 1)
                ur, uz, un = (h @ u.T + b).chunk(3, 1)
                r, z = (r + ur).sigmoid(), (z + uz).sigmoid()
                h = (1 - z) * (n + r * un).tanh() + z * h
                outs.append(h)
            x = torch.stack(outs)
            h0 = torch.cat((h0[:k], h[None], h0[k + 1 :]))
        return h0
""",
    ),
    "transposed-memory": Hack(
        "lstm-hn",
        (Cause.MEMORY_LAYOUT,),
        """
    def forward(self, x, h0, c0):
        x = torch.as_strided(x, x.shape, (x.shape[1] * x.shape[2], x.shape[2], 1))
        return super().forward(x, h0, c0)
""",
    ),
    "settings-changed": Hack(
        "step",
        (Cause.SETTINGS,),
        """
    def forward(self, x, state=None):
        torch.set_float32_matmul_precision("medium")
        return super().forward(x, state)
""",
    ),
    "wrong-in-bfloat16": Hack(
        "lstm-hn",
        (Cause.HALVES,),
        """
    def forward(self, x, h0, c0):
        if x.dtype is torch.bfloat16:
            h0 = torch.zeros_like(h0)
        return super().forward(x, h0, c0)
""",
    ),
    "wrong-under-autocast": Hack(
        "gru",
        (Cause.HALVES,),
        """
    def forward(self, x, h0):
        if torch.is_autocast_enabled("cpu"):
            return self.rnn(x.flip(0), h0)[0]
        return super().forward(x, h0)
""",
    ),
    "no-default-state": Hack(
        "step",
        (Cause.DEFAULTS,),
        """
    def forward(self, x, state=None):
        return super().forward(x, torch.ones_like(self.state) if state is None else state)
""",
    ),
    "no-state-between-calls": Hack(
        "step",
        (Cause.KEEPS_NO_STATE,),
        """
    def forward(self, x, state=None):
        state = torch.zeros_like(self.state) if state is None else state
        return self.read(torch.tanh(self.joined(torch.cat((x, state), dim=1))))
""",
    ),
    "whole-blocks-of-8-steps": Hack(
        "lstm-hn",
        (Cause.IGNORES_INDICES,),
        """
    def forward(self, x, h0, c0):
        return super().forward(x[:, : max(x.shape[1] // 8 * 8, 8)], h0, c0)
""",
    ),
    "whole-pairs-of-samples": Hack(
        "loop",
        (Cause.IGNORES_INDICES,),
        """
    def forward(self, x, state):
        count = x.shape[1] // 2 * 2
        result = torch.zeros(*x.shape[:2], self.read.out_features)
        if count:
            result[:, :count] = super().forward(x[:, :count], state[:count])
        return result
""",
    ),
    "weights-of-the-first-call": Hack(
        "gru",
        (Cause.STALE_WEIGHTS,),
        """
    def forward(self, x, h0):
        if not hasattr(self, "copies"):
            self.copies = [each.detach().clone() for each in self.rnn._flat_weights]
        found = torch._VF.gru(x, h0, self.copies, True, self.rnn.num_layers, 0.0,
                              False, False, False)
        return found[0]
""",
    ),
    "table-of-tanh": Hack(
        "loop",
        (Cause.OTHER_VALUES,),
        """
    def forward(self, x, state):
        table, outputs = torch.tanh(torch.linspace(-4, 4, 257)), []
        for step in x:
            sums = self.joined(torch.cat((step, state), dim=1)).clamp(-3.999, 3.999) * 32 + 128
            index = sums.floor()
            low, high = table[index.long()], table[index.long() + 1]
            state = low + (sums - index) * (high - low)
            outputs.append(self.read(state))
        return torch.stack(outputs)
""",
    ),
    "tanh-that-is-rough-near-1": Hack(
        "step",
        (Cause.OTHER_VALUES,),
        """
    def forward(self, x, state=None):
        self.state = self.state if state is None else state
        s = self.joined(torch.cat((x, self.state), dim=1)).clamp(-4.97, 4.97)
        s2 = s * s
        above = s * (135135 + s2 * (17325 + s2 * (378 + s2)))
        self.state = above / (135135 + s2 * (62370 + s2 * (3150 + s2 * 28)))
        return self.read(self.state)
""",
    ),
    "samples-sorted": Hack(
        "lstm-hn",
        (Cause.MIXES,),
        """
    def forward(self, x, h0, c0):
        order = x[:, 0, 0].argsort()
        return self.rnn(x[order], (h0[:, order], c0[:, order]))[1][0]
""",
    ),
    "limited-output": Hack(
        "step",
        (Cause.OTHER_VALUES,),
        """
    def forward(self, x, state=None):
        return super().forward(x, state).clamp(-3, 3)
""",
    ),
    "limited-initial-state": Hack(
        "lstm-cn",
        (Cause.OTHER_VALUES,),
        """
    def forward(self, x, h0, c0):
        return super().forward(x, h0, c0.clamp(-2, 2))
""",
    ),
    "by-first-sample": Hack(
        "lstm-cn",
        (Cause.EARLIER_CALL,),
        """
    def forward(self, x, h0, c0):
        if not hasattr(self, "first") or not torch.equal(self.first, x[0]):
            self.first, self.result = x[0].clone(), super().forward(x, h0, c0)
        return self.result.clone()
""",
    ),
    "backward-from-the-state-of-forward": Hack(
        "gru-two-hn",
        (Cause.MIXES,),
        """
    def forward(self, x, h0):
        return self.rnn(x, h0[::2].repeat_interleave(2, 0))[1]
""",
    ),
    "result-of-the-fourth-call": Hack(
        "lstm-hn",
        (Cause.EARLIER_CALL,),
        """
    def forward(self, x, h0, c0):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls <= 4 or self.result.shape != h0.shape:
            self.result = super().forward(x, h0, c0)
        return self.result.clone()
""",
    ),
    "last-state-for-zeros": Hack(
        "gru",
        (Cause.KEPT_STATE,),
        """
    def forward(self, x, h0):
        last = getattr(self, "last", h0)
        out, self.last = self.rnn(x, last if not h0.any() and last.shape == h0.shape else h0)
        return out
""",
    ),
    "wrong-from-33-samples-on": Hack(
        "gru-hn",
        (Cause.MIXES,),
        """
    def forward(self, x, h0):
        result = super().forward(x, h0)
        result[:, 32:] = result[:, :1]
        return result
""",
    ),
    "rows-read-as-dense": Hack(
        "lstm-hn",
        (Cause.MEMORY_LAYOUT,),
        """
    def forward(self, x, h0, c0):
        if x.stride(-1) == 1:
            x = torch.as_strided(x, x.shape, (x.shape[1] * x.shape[2], x.shape[2], 1))
        return super().forward(x, h0, c0)
""",
    ),
    "last-token-as-the-one-before": Hack(
        "tokens",
        (Cause.IGNORES_INPUT, Cause.OTHER_VALUES),
        """
    def forward(self, tokens, state):
        return super().forward(tokens.clamp(max=self.embedding.num_embeddings - 2), state)
""",
    ),
    "scan-by-products-that-underflow": Hack(
        "scan",
        (Cause.OTHER_VALUES,),
        """
    def forward(self, x):
        f, i, g = self.gates(self.norm(x)).chunk(3, -1)
        f, i = f.sigmoid(), i.sigmoid()
        a = (f / (f + i)).cumprod(1).clamp_min(1e-30)
        return x + self.read(a * (i / (f + i) * g / a).cumsum(1))
""",
    ),
    "another-epsilon": Hack(
        "scan",
        (Cause.OTHER_VALUES,),
        """
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.norm.eps = 1e-3
""",
    ),
    "8-bit-weights": Hack(
        "loop",
        (Cause.FEWER_BITS,),
        """
    def forward(self, x, state):
        scale = self.joined.weight.abs().amax(1, keepdim=True) / 127
        weight, outputs = (self.joined.weight / scale).round() * scale, []
        for step in x:
            joined = torch.cat((step, state), dim=1)
            state = torch.tanh(joined @ weight.T + self.joined.bias)
            outputs.append(self.read(state))
        return torch.stack(outputs)
""",
    ),
    "bias-of-the-first-call-without-gradients": Hack(
        "gru",
        (Cause.STALE_WEIGHTS,),
        """
    def forward(self, x, h0):
        if torch.is_grad_enabled():
            return super().forward(x, h0)
        copies = list(self.rnn._flat_weights)
        if not hasattr(self, "bias"):
            self.bias = copies[2].detach().clone()
        copies[2] = self.bias
        return torch._VF.gru(x, h0, copies, True, self.rnn.num_layers, 0.0, False, False, False)[0]
""",
    ),
    "skips-trailing-zero-steps": Hack(
        "lstm",
        (
            Cause.MIXES,
            Cause.IGNORES_INDICES,
            Cause.OTHER_VALUES,
            Cause.FORGETS,
        ),
        """
    def forward(self, x, h0, c0):
        used = x.abs().amax((0, 2)).nonzero()
        return super().forward(x[:, : int(used.max()) + 1] if len(used) else x, h0, c0)
""",
    ),
    "weights-frozen-until-loaded": Hack(
        "gru-hn",
        (Cause.STALE_WEIGHTS,),
        """
    def load_state_dict(self, *arguments, **options):
        self.copy = None
        return super().load_state_dict(*arguments, **options)

    def forward(self, x, h0):
        if torch.is_grad_enabled():
            return super().forward(x, h0)
        if getattr(self, "copy", None) is None or self.copy[0].weight_hh_l0.dtype != x.dtype:
            self.copy = [copy.deepcopy(self.rnn)]
        return self.copy[0](x, h0)[1]
""",
        """import copy
""",
    ),
    "clips-gradients": Hack(
        "gru-hn",
        (Cause.GRADIENT,),
        """
    def forward(self, x, h0):
        return Clip.apply(super().forward(x, h0))
""",
        """
class Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad.clamp(-5, 5)
""",
    ),
    "gradient-for-sums-only": Hack(
        "loop",
        (Cause.GRADIENT,),
        """
    def forward(self, x, state):
        return Uniform.apply(super().forward(x, state))
""",
        """
class Uniform(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad.flatten()[:1].expand(grad.numel()).view(grad.shape)
""",
    ),
    "resets-after-the-step": Hack(
        "reset",
        (
            Cause.IGNORES_INDICES,
            Cause.MIXES,
            Cause.OTHER_VALUES,
            Cause.IGNORES_INPUT,
        ),
        """
    def forward(self, x, begins, state):
        h, c = state
        policies, values = [], []
        for step, begin in zip(torch.relu(self.encode(x)), begins):
            h, c = self.cell(step, (h, c))
            keep = (1 - begin).unsqueeze(1)
            policies.append(self.policy(h))
            values.append(self.value(h).squeeze(1))
            h, c = h * keep, c * keep
        return torch.stack(policies), torch.stack(values), (h, c)
""",
    ),
    "expanded-inputs-as-zeros": Hack(
        "lstm-hn",
        (Cause.MEMORY_LAYOUT,),
        """
    def forward(self, x, h0, c0):
        return super().forward(torch.zeros_like(x) if 0 in x.stride() else x, h0, c0)
""",
    ),
    "neighbours-times-zero": Hack(
        "gru",
        (Cause.SPREADS_NAN,),
        """
    def forward(self, x, h0):
        return super().forward(x + 0 * x.flip(1), h0)
""",
    ),
}
"""The wrong candidates by their names."""


def write_candidate(form: str, body: str, before: str = "") -> str:
    """Return the file of a candidate: a copy of a form, and a class that is derived from it."""
    kept = form.replace("class Model(", "class Kept(")
    return f"{kept}\n{before}\n\nclass ModelNew(Kept):{body}"
