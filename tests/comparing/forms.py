"""Models in the form that benchmarks of generated kernels have, as the source of files.

Each file has a class `Model` with a recurrent layer, `get_init_inputs` for its constructor and
`get_inputs` for its call. They are written for these tests.
"""

from __future__ import annotations

HEAD = "import torch\nfrom torch import nn\n\n"

STEP = """
class Model(nn.Module):
    def __init__(self, input_size, hidden_size, output_size):
        super().__init__()
        self.joined = nn.Linear(input_size + hidden_size, hidden_size)
        self.read = nn.Linear(hidden_size, output_size)
        self.state = torch.zeros(batch_size, hidden_size)

    def forward(self, x, state=None):
        if state is not None:
            self.state = state
        self.state = torch.tanh(self.joined(torch.cat((x, self.state), dim=1)))
        return self.read(self.state)


batch_size, input_size, hidden_size, output_size = 16, 96, 128, 24


def get_inputs():
    return [torch.rand(batch_size, input_size), torch.rand(batch_size, hidden_size)]


def get_init_inputs():
    return [input_size, hidden_size, output_size]
"""

LOOP = """
class Model(nn.Module):
    def __init__(self, input_size, hidden_size, output_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.joined = nn.Linear(input_size + hidden_size, hidden_size)
        self.read = nn.Linear(hidden_size, output_size)

    def forward(self, x, state):
        outputs = []
        for step in x:
            state = torch.tanh(self.joined(torch.cat((step, state), dim=1)))
            outputs.append(self.read(state))
        return torch.stack(outputs)


steps, batch_size, input_size, hidden_size, output_size = 256, 8, 64, 64, 16


def get_inputs():
    return [torch.rand(steps, batch_size, input_size), torch.rand(batch_size, hidden_size)]


def get_init_inputs():
    return [input_size, hidden_size, output_size]
"""

TOKENS = """
class Model(nn.Module):
    def __init__(self, vocabulary, width, hidden_size):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.cell = nn.GRUCell(width, hidden_size)
        self.read = nn.Linear(hidden_size, vocabulary)

    def forward(self, tokens, state):
        outputs = []
        for step in self.embedding(tokens).unbind(1):
            state = self.cell(step, state)
            outputs.append(self.read(state))
        return torch.stack(outputs, 1)


vocabulary, width, hidden_size, batch_size, seq_len = 50, 32, 64, 6, 100


def get_inputs():
    return [torch.randint(vocabulary, (batch_size, seq_len)), torch.rand(batch_size, hidden_size)]


def get_init_inputs():
    return [vocabulary, width, hidden_size]
"""

SCAN = """
class Model(nn.Module):
    def __init__(self, size, expansion):
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.gates = nn.Linear(size, 3 * expansion * size)
        self.read = nn.Linear(expansion * size, size)

    def forward(self, x):
        f, i, g = self.gates(self.norm(x)).chunk(3, -1)
        f, i = f.sigmoid(), i.sigmoid()
        f, i = f / (f + i), i / (f + i)
        state, outputs = torch.zeros_like(g[:, 0]), []
        for step in range(x.shape[1]):
            state = f[:, step] * state + i[:, step] * g[:, step]
            outputs.append(state)
        return x + self.read(torch.stack(outputs, 1))


batch_size, seq_len, size, expansion = 4, 256, 64, 2


def get_inputs():
    return [torch.randn(batch_size, seq_len, size)]


def get_init_inputs():
    return [size, expansion]
"""

RESET = """
class Model(nn.Module):
    def __init__(self, observed, hidden_size, actions):
        super().__init__()
        self.encode = nn.Linear(observed, hidden_size)
        self.cell = nn.LSTMCell(hidden_size, hidden_size)
        self.policy = nn.Linear(hidden_size, actions)
        self.value = nn.Linear(hidden_size, 1)

    def forward(self, x, begins, state):
        h, c = state
        policies, values = [], []
        for step, begin in zip(torch.relu(self.encode(x)), begins):
            keep = (1 - begin).unsqueeze(1)
            h, c = self.cell(step, (h * keep, c * keep))
            policies.append(self.policy(h))
            values.append(self.value(h).squeeze(1))
        return torch.stack(policies), torch.stack(values), (h, c)


steps, batch_size, observed, hidden_size, actions = 128, 16, 24, 64, 6


def get_inputs():
    state = torch.randn(batch_size, hidden_size), torch.randn(batch_size, hidden_size)
    begins = (torch.rand(steps, batch_size) < 0.05).float()
    return [torch.randn(steps, batch_size, observed), begins, state]


def get_init_inputs():
    return [observed, hidden_size, actions]
"""

LAYER = """
class Model(nn.Module):
    def __init__(self, input_size, hidden_size, num_layers{more}):
        super().__init__()
        self.rnn = nn.{layer}(input_size, hidden_size, num_layers, batch_first={first}{two})
        {head}

    def forward(self, x, {states}):
        out, state = self.rnn(x, {given})
        return {result}


batch_size, seq_len, input_size, hidden_size, num_layers = {sizes}
{constants}

def get_inputs():
    state = ({rows}, batch_size, hidden_size)
    return [torch.rand({order}, input_size), {drawn}]


def get_init_inputs():
    return [input_size, hidden_size, num_layers{passed}]
"""


def write_layer(
    layer: str,
    result: str,
    sizes: str,
    *,
    first: bool = True,
    two: bool = False,
    head: bool = False,
) -> str:
    """Return the file of a model with a layer of torch.nn and a result."""
    is_lstm = layer == "LSTM"
    return HEAD + LAYER.format(
        layer=layer,
        result=result,
        sizes=sizes,
        first=first,
        two=", bidirectional=True" if two else "",
        head=f"self.fc = nn.Linear({2 if two else 1} * hidden_size, classes)" if head else "pass",
        more=", classes" if head else "",
        passed=", classes" if head else "",
        constants="classes = 10\n" if head else "",
        states="h0, c0" if is_lstm else "h0",
        given="(h0, c0)" if is_lstm else "h0",
        rows="2 * num_layers" if two else "num_layers",
        order="batch_size, seq_len" if first else "seq_len, batch_size",
        drawn="torch.rand(state), torch.rand(state)" if is_lstm else "torch.rand(state)",
    )


LAST = "self.fc(out[:, -1])"
FORMS = {
    "step": HEAD + STEP,
    "loop": HEAD + LOOP,
    "tokens": HEAD + TOKENS,
    "scan": HEAD + SCAN,
    "reset": HEAD + RESET,
    "lstm": write_layer("LSTM", LAST, "10, 512, 64, 128, 3", head=True),
    "lstm-hn": write_layer("LSTM", "state[0]", "10, 512, 64, 128, 3"),
    "lstm-cn": write_layer("LSTM", "state[1]", "10, 512, 64, 128, 3"),
    "lstm-two": write_layer("LSTM", LAST, "10, 512, 64, 128, 2", two=True, head=True),
    "lstm-wide": write_layer("LSTM", LAST, "10, 512, 128, 512, 3", head=True),
    "gru": write_layer("GRU", "out", "10, 512, 64, 128, 3", first=False),
    "gru-hn": write_layer("GRU", "state", "10, 512, 64, 128, 3", first=False),
    "gru-two": write_layer("GRU", "out", "10, 512, 64, 128, 2", first=False, two=True),
    "gru-two-hn": write_layer("GRU", "state", "10, 512, 64, 128, 2", first=False, two=True),
}
"""The files by their names."""
