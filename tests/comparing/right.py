"""Right candidates: other code that computes the same.

Each begins with its form, and has the body of a class `ModelNew` that is derived from a copy of the
form's class, named `Kept`.
"""

from __future__ import annotations

from typing import NamedTuple

from rnnspec.comparing.evaluation import Precision


class Right(NamedTuple):
    """A right candidate: its form, its source, and what products are rounded to."""

    form: str
    body: str
    before: str = ""
    precision: Precision = Precision.IEEE


LSTM = '''
def weights(rnn, layer, end=""):
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [getattr(rnn, f"{name}_l{layer}{end}") for name in names]


def run(x, h, c, w, u, a, b, back=False):
    """Run one direction over x (steps, batch, features)."""
    sums, outs = x @ w.T + (a + b), []
    for step in sums.flip(0) if back else sums:
        i, f, g, o = (step + h @ u.T).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outs.append(h)
    outs = torch.stack(outs)
    return outs.flip(0) if back else outs, h, c


def stack(rnn, x, h0, c0, ends=("",)):
    x, hs, cs = x.transpose(0, 1), [], []
    for layer in range(rnn.num_layers):
        outs = []
        for place, end in enumerate(ends):
            k = layer * len(ends) + place
            out, h, c = run(x, h0[k], c0[k], *weights(rnn, layer, end), back=place == 1)
            outs.append(out)
            hs.append(h)
            cs.append(c)
        x = torch.cat(outs, 2)
    return x.transpose(0, 1), torch.stack(hs), torch.stack(cs)
'''
GRU = """
def run_gru(rnn, x, h0):
    states = []
    for k in range(rnn.num_layers):
        w, u, a, b = (getattr(rnn, f"{n}_l{k}") for n in
                      ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h, outs = h0[k], []
        for step in x @ w.T + a:
            r, z, n = step.chunk(3, 1)
            ur, uz, un = torch.addmm(b, h, u.T).chunk(3, 1)
            r, z = torch.sigmoid(r + ur), torch.sigmoid(z + uz)
            n = torch.tanh(n + r * un)
            h = n + z * (h - n)
            outs.append(h)
        states.append(h)
        x = torch.stack(outs)
    return x, torch.stack(states)
"""
ROUND = '''
def tf32(x):
    """Return x with ten bits behind the first, as a tensor core reads it."""
    if x.dtype is not torch.float32:  # two numbers of 16 bits would be read as one
        return x
    whole = x.detach().contiguous().view(torch.int32)
    return x + (((whole + 0x1000) & -0x2000).view(torch.float32) - x).detach()
'''
BACKWARD = """
class Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, h, w, b):
        joined = torch.cat((x, h), 1)
        new = torch.tanh(torch.addmm(b, joined, w.T))
        ctx.save_for_backward(joined, new, w)
        ctx.split = x.shape[1]
        return new

    @staticmethod
    def backward(ctx, grad):
        joined, new, w = ctx.saved_tensors
        sums = grad * (1 - new * new)
        both = sums @ w
        return both[:, : ctx.split], both[:, ctx.split :], sums.T @ joined, sums.sum(0)
"""
RIGHT = {
    "same": Right("gru-hn", "\n    pass\n"),
    "lstm-loop": Right(
        "lstm",
        """
    def forward(self, x, h0, c0):
        return self.fc(stack(self.rnn, x, h0, c0)[0][:, -1])
""",
        LSTM,
    ),
    "lstm-hn-loop": Right(
        "lstm-hn",
        """
    def forward(self, x, h0, c0):
        return stack(self.rnn, x, h0, c0)[1]
""",
        LSTM,
    ),
    "lstm-cells": Right(
        "lstm",
        """
    def __init__(self, *arguments):
        super().__init__(*arguments)
        rnn, self.cells = self.rnn, nn.ModuleList()
        for k in range(rnn.num_layers):
            cell = nn.LSTMCell(rnn.hidden_size if k else rnn.input_size, rnn.hidden_size)
            for mine, value in zip(cell.parameters(), weights(rnn, k)):
                mine.data.copy_(value.detach())
            self.cells.append(cell)
        del self.rnn

    def forward(self, x, h0, c0):
        states = list(zip(h0, c0))
        for step in x.unbind(1):
            for k, cell in enumerate(self.cells):
                states[k] = cell(step, states[k])
                step = states[k][0]
        return self.fc(step)
""",
        LSTM,
    ),
    "weights-drawn-in-another-way": Right(
        "gru-hn",
        """
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.parts = nn.ParameterList()
        for value in self.rnn.parameters():
            self.parts.append(nn.Parameter(torch.randn(value.shape)))
        self.layers = self.rnn.num_layers
        del self.rnn

    def forward(self, x, h0):
        return run_gru(Named(self.layers, self.parts), x, h0)[1]
""",
        GRU
        + """

class Named:
    def __init__(self, num_layers, parts):
        self.num_layers = num_layers
        for k, value in enumerate(parts):
            name = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[k % 4]
            setattr(self, f"{name}_l{k // 4}", value)
""",
    ),
    "lstm-both-directions-loop": Right(
        "lstm-two",
        """
    def forward(self, x, h0, c0):
        return self.fc(stack(self.rnn, x, h0, c0, ("", "_reverse"))[0][:, -1])
""",
        LSTM,
    ),
    "gru-loop": Right(
        "gru",
        """
    def forward(self, x, h0):
        return run_gru(self.rnn, x, h0)[0]
""",
        GRU,
    ),
    "gru-hn-loop": Right(
        "gru-hn",
        """
    def forward(self, x, h0):
        return run_gru(self.rnn, x, h0)[1]
""",
        GRU,
    ),
    "split-products": Right(
        "loop",
        """
    def forward(self, x, state):
        size = x.shape[2]
        w, outputs = self.joined.weight, []
        for step in x @ w[:, :size].T + self.joined.bias:
            state = torch.tanh(step + state @ w[:, size:].T)
            outputs.append(state)
        return self.read(torch.stack(outputs))
""",
    ),
    "sums-from-the-end": Right(
        "loop",
        """
    def forward(self, x, state):
        outputs = []
        for step in x:
            joined = torch.cat((step, state), 1)
            sums = joined.flip(1) @ self.joined.weight.flip(1).T
            state = torch.tanh(self.joined.bias + sums)
            outputs.append(self.read(state))
        return torch.stack(outputs)
""",
    ),
    "sums-in-blocks": Right(
        "step",
        """
    def forward(self, x, state=None):
        joined = torch.cat((x, self.state if state is None else state), 1)
        total = torch.zeros(len(x), self.joined.out_features)
        for mine, w in zip(joined.split(16, 1), self.joined.weight.split(16, 1)):
            total = total + mine @ w.T
        self.state = torch.tanh(total + self.joined.bias)
        return self.read(self.state)
""",
    ),
    "one-product-after-the-other": Right(
        "step",
        """
    def forward(self, x, state=None):
        joined = torch.cat((x, self.state if state is None else state), 1)
        total = self.joined.bias.expand(len(x), -1)
        for k in range(joined.shape[1]):
            total = total + joined[:, k : k + 1] * self.joined.weight[:, k]
        self.state = torch.tanh(total)
        return self.read(self.state)
""",
    ),
    "in-float64": Right(
        "lstm-cn",
        """
    def forward(self, x, h0, c0):
        names = [n for n, _ in self.rnn.named_parameters()]
        w = [getattr(self.rnn, n).double() for n in names]
        found = torch._VF.lstm(x.double(), (h0.double(), c0.double()), w, True,
                               self.rnn.num_layers, 0.0, False, False, True)
        return found[2].float()
""",
    ),
    "stacked-parameters": Right(
        "gru",
        """
    def __init__(self, *arguments):
        super().__init__(*arguments)
        rnn = self.rnn
        self.first = nn.Parameter(rnn.weight_ih_l0.detach().T.contiguous())
        self.layers = rnn.num_layers
        found = {n: [getattr(rnn, f"{n}_l{k}").detach() for k in range(self.layers)]
                 for n in ("weight_hh", "weight_ih", "bias_ih", "bias_hh")}
        joined = [torch.cat((u, w)[: 2 if k else 1], 1)
                  for k, (u, w) in enumerate(zip(found["weight_hh"], found["weight_ih"]))]
        self.rest = nn.ParameterList([nn.Parameter(each.clone()) for each in joined])
        self.a = nn.Parameter(torch.stack(found["bias_ih"]))
        self.b = nn.Parameter(torch.stack(found["bias_hh"]))
        del self.rnn

    def forward(self, x, h0):
        for k in range(self.layers):
            h, outs = h0[k], []
            u, w = self.rest[k][:, : h.shape[1]], self.rest[k][:, h.shape[1] :]
            for step in (x @ self.first if k == 0 else x @ w.T) + self.a[k]:
                r, z, n = step.chunk(3, 1)
                ur, uz, un = (h @ u.T + self.b[k]).chunk(3, 1)
                r, z = (r + ur).sigmoid(), (z + uz).sigmoid()
                h = (1 - z) * (n + r * un).tanh() + z * h
                outs.append(h)
            x = torch.stack(outs)
        return x
""",
    ),
    "one-bias": Right(
        "lstm-hn",
        """
    def __init__(self, *arguments):
        super().__init__(*arguments)
        rnn = self.rnn
        self.biases = nn.ParameterList(
            nn.Parameter((getattr(rnn, f"bias_ih_l{k}") + getattr(rnn, f"bias_hh_l{k}")).detach())
            for k in range(rnn.num_layers))
        for k in range(rnn.num_layers):
            for name in ("bias_ih", "bias_hh"):
                delattr(rnn, f"{name}_l{k}")

    def forward(self, x, h0, c0):
        x, hs = x.transpose(0, 1), []
        for k, bias in enumerate(self.biases):
            w, u = getattr(self.rnn, f"weight_ih_l{k}"), getattr(self.rnn, f"weight_hh_l{k}")
            x, h, _ = run(x, h0[k], c0[k], w, u, bias, torch.zeros(()))
            hs.append(h)
        return torch.stack(hs)
""",
        LSTM,
    ),
    "plain-tensors": Right(
        "loop",
        """
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.w = self.joined.weight.detach().T.contiguous()
        self.b = self.joined.bias.detach().clone()
        self.v = (self.read.weight.detach().T.contiguous(), self.read.bias.detach().clone())
        del self.joined, self.read

    def forward(self, x, state):
        outputs = []
        for step in x:
            state = torch.tanh(torch.cat((step, state), 1) @ self.w + self.b)
            outputs.append(state @ self.v[0] + self.v[1])
        return torch.stack(outputs)
""",
    ),
    "compiled": Right(
        "loop",
        """
    def forward(self, x, state):
        outputs = []
        for step in x:
            state = one_step(torch.cat((step, state), 1), self.joined.weight, self.joined.bias)
            outputs.append(self.read(state))
        return torch.stack(outputs)
""",
        """
@torch.compile(backend="eager", dynamic=True)
def one_step(joined, weight, bias):
    return torch.tanh(torch.nn.functional.linear(joined, weight, bias))
""",
    ),
    "compiled-whole": Right(
        "step",
        """
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.compute = torch.compile(super().forward, backend="eager")

    def forward(self, x, state=None):
        return self.compute(x, state)
""",
    ),
    "scripted": Right(
        "lstm-cn",
        """
    def forward(self, x, h0, c0):
        x, cs = x.transpose(0, 1), []
        for k in range(self.rnn.num_layers):
            x, c = scripted(x, h0[k], c0[k], *weights(self.rnn, k))
            cs.append(c)
        return torch.stack(cs)
""",
        LSTM
        + """
@torch.jit.script
def scripted(x, h, c, w, u, a, b):
    outs = []
    for step in x:
        i, f, g, o = (step @ w.t() + a + h @ u.t() + b).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outs.append(h)
    return torch.stack(outs), c
""",
    ),
    "tf32": Right(
        "lstm-hn",
        """
    def forward(self, x, h0, c0):
        x, hs = x.transpose(0, 1), []
        for k in range(self.rnn.num_layers):
            w, u, a, b = weights(self.rnn, k)
            h, c, outs = h0[k], c0[k], []
            for step in tf32(x) @ tf32(w).T + (a + b):
                i, f, g, o = (step + tf32(h) @ tf32(u).T).chunk(4, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                outs.append(h)
            hs.append(h)
            x = torch.stack(outs)
        return torch.stack(hs)
""",
        LSTM + ROUND,
        Precision.TF32,
    ),
    "own-backward": Right(
        "loop",
        """
    def forward(self, x, state):
        outputs = []
        for step in x:
            state = Step.apply(step, state, self.joined.weight, self.joined.bias)
            outputs.append(state)
        return self.read(torch.stack(outputs))
""",
        BACKWARD,
    ),
    "tanh-for-sigmoid": Right(
        "gru-two",
        """
    def forward(self, x, h0):
        outs, k = x, 0
        for layer in range(self.rnn.num_layers):
            both = []
            for end in ("", "_reverse"):
                w, u, a, b = (getattr(self.rnn, f"{n}_l{layer}{end}") for n in
                              ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
                h, found = h0[k], []
                for step in (outs.flip(0) if end else outs) @ w.T + a:
                    r, z, n = step.chunk(3, 1)
                    ur, uz, un = (h @ u.T + b).chunk(3, 1)
                    r = 0.5 + 0.5 * torch.tanh((r + ur) / 2)
                    z = 0.5 + 0.5 * torch.tanh((z + uz) / 2)
                    h = (1 - z) * torch.tanh(n + r * un) + z * h
                    found.append(h)
                both.append(torch.stack(found[::-1] if end else found))
                k += 1
            outs = torch.cat(both, 2)
        return outs
""",
    ),
    "no-backward": Right(
        "gru-hn",
        """
    @torch.no_grad()
    def forward(self, x, h0):
        return run_gru(self.rnn, x, h0)[1]
""",
        GRU,
    ),
    "state-in-a-dictionary": Right(
        "step",
        """
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.kept = {}

    def forward(self, x, state=None):
        state = self.kept.get("state", self.state) if state is None else state
        w = self.joined.weight
        sums = x @ w[:, : x.shape[1]].T + self.joined.bias + state @ w[:, x.shape[1] :].T
        self.kept["state"] = torch.tanh(sums)
        return self.read(self.kept["state"])
""",
    ),
    "scan-by-doubling": Right(
        "scan",
        """
    def forward(self, x):
        f, i, g = self.gates(self.norm(x)).chunk(3, -1)
        f, i = f.sigmoid(), i.sigmoid()
        a, b, width = f / (f + i), i / (f + i) * g, 1
        while width < x.shape[1]:
            b = torch.cat((b[:, :width], a[:, width:] * b[:, :-width] + b[:, width:]), 1)
            a = torch.cat((a[:, :width], a[:, width:] * a[:, :-width]), 1)
            width *= 2
        return x + self.read(b)
""",
    ),
    "exp-for-tanh": Right(
        "loop",
        """
    def forward(self, x, state):
        w, u = self.joined.weight.split([x.shape[2], state.shape[1]], 1)
        outputs = []
        for step in x @ w.T + self.joined.bias:
            state = 2 / (1 + torch.exp(-2 * torch.addmm(step, state, u.T))) - 1
            outputs.append(state)
        return self.read(torch.stack(outputs))
""",
    ),
    "chunks-with-states": Right(
        "lstm-cn",
        """
    def forward(self, x, h0, c0):
        for part in x.split(100, 1):
            _, (h0, c0) = self.rnn(part, (h0, c0))
        return c0
""",
    ),
    "both-directions-at-once": Right(
        "gru-two-hn",
        """
    def forward(self, x, h0):
        states = []
        for k in range(self.rnn.num_layers):
            w, u, a, b = (torch.stack([getattr(self.rnn, f"{n}_l{k}{end}")
                                       for end in ("", "_reverse")])
                          for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            h, outs = h0[2 * k : 2 * k + 2], []
            both = torch.stack((x, x.flip(0)))
            sums = both @ w.mT[:, None] + a[:, None, None]
            for step in sums.unbind(1):
                r, z, n = step.chunk(3, 2)
                ur, uz, un = torch.baddbmm(b[:, None], h, u.mT).chunk(3, 2)
                r, z = (r + ur).sigmoid(), (z + uz).sigmoid()
                h = (1 - z) * (n + r * un).tanh() + z * h
                outs.append(h)
            outs = torch.stack(outs, 1)
            x = torch.cat((outs[0], outs[1].flip(0)), 2)
            states.append(h)
        return torch.cat(states)
""",
    ),
    "wavefront": Right(
        "lstm-hn",
        """
    def forward(self, x, h0, c0):
        count, steps = self.rnn.num_layers, x.shape[1]
        every = [weights(self.rnn, k) for k in range(count)]
        first = every[0]
        sums = x @ first[0].T
        h, c = list(h0.unbind()), list(c0.unbind())
        below = [None] * count
        for tick in range(steps + count - 1):
            active = [k for k in range(count) if 0 <= tick - k < steps]
            u = torch.stack([every[k][1].T for k in active])
            parts = torch.stack([h[k] for k in active]) @ u
            news = {}
            for place, k in enumerate(active):
                bias = every[k][2] + every[k][3]
                given = sums[:, tick] if k == 0 else below[k - 1] @ every[k][0].T
                i, f, g, o = (given + parts[place] + bias).chunk(4, 1)
                cell = f.sigmoid() * c[k] + i.sigmoid() * g.tanh()
                news[k] = o.sigmoid() * cell.tanh(), cell
            for k, (new, cell) in news.items():
                h[k], c[k] = new, cell
                below[k] = new
        return torch.stack(h)
""",
        LSTM,
    ),
    "backward-through-time": Right(
        "loop",
        """
    def forward(self, x, state):
        wx, wh = self.joined.weight.split((x.shape[2], self.hidden_size), 1)
        return self.read(Through.apply(x, state, wx, wh, self.joined.bias))
""",
        """
class Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, h, wx, wh, b):
        outs, state = [], h
        for step in x @ wx.T + b:
            state = torch.tanh(step + state @ wh.T)
            outs.append(state)
        outs = torch.stack(outs)
        ctx.save_for_backward(x, h, wx, wh, outs)
        return outs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, h, wx, wh, outs = ctx.saved_tensors
        sums, later = torch.empty_like(outs), torch.zeros_like(h)
        for t in range(len(x) - 1, -1, -1):
            sums[t] = (grad[t] + later) * (1 - outs[t] ** 2)
            later = sums[t] @ wh
        before = torch.cat((h[None], outs[:-1])).flatten(0, 1)
        flat = sums.flatten(0, 1)
        return sums @ wx, later, flat.T @ x.flatten(0, 1), flat.T @ before, flat.sum(0)
""",
    ),
    "units-padded-to-16": Right(
        "lstm-cn",
        """
    def forward(self, x, h0, c0):
        out, cs = x.transpose(0, 1), []
        size = self.rnn.hidden_size
        more = -size % 16
        pad = torch.nn.functional.pad
        for k in range(self.rnn.num_layers):
            w, u, a, b = weights(self.rnn, k)
            w = pad(w.unflatten(0, (4, -1)), (0, 0, 0, more)).flatten(0, 1)
            u = pad(u.unflatten(0, (4, -1)), (0, more, 0, more)).flatten(0, 1)
            a, b = (pad(each.unflatten(0, (4, -1)), (0, more)).flatten() for each in (a, b))
            out, _, c = run(out, pad(h0[k], (0, more)), pad(c0[k], (0, more)), w, u, a, b)
            out = out[..., :size]
            cs.append(c[:, :size])
        return torch.stack(cs)
""",
        LSTM,
    ),
    "resets-by-where": Right(
        "reset",
        """
    def forward(self, x, begins, state):
        h, c = state
        hs = []
        encoded = torch.relu(self.encode(x))
        for step, begin in zip(encoded, begins > 0.5):
            h = torch.where(begin[:, None], 0, h)
            c = torch.where(begin[:, None], 0, c)
            h, c = self.cell(step, (h, c))
            hs.append(h)
        hs = torch.stack(hs)
        return self.policy(hs), self.value(hs).squeeze(2), (h, c)
""",
    ),
}
"""The right candidates by their names."""
