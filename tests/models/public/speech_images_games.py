"""Models of speech, images, video, sessions and games."""

import torch
import torch.nn as nn
import torch.nn.functional as F

device = "cuda" if torch.cuda.is_available() else "cpu"


class BidirectionalLSTM(nn.Module):
    def __init__(self, nIn, nHidden, nOut):
        super(BidirectionalLSTM, self).__init__()
        self.rnn = nn.LSTM(nIn, nHidden, bidirectional=True)
        self.embedding = nn.Linear(nHidden * 2, nOut)

    def forward(self, input):
        recurrent, _ = self.rnn(input)
        T, b, h = recurrent.size()
        t_rec = recurrent.view(T * b, h)
        output = self.embedding(t_rec)
        output = output.view(T, b, -1)
        return output


class CRNN(nn.Module):
    def __init__(self, imgH, nc, nclass, nh, n_rnn=2):
        super(CRNN, self).__init__()
        assert imgH % 16 == 0, "imgH has to be a multiple of 16"
        self.cnn = nn.Sequential(
            nn.Conv2d(nc, 8, 3, 1, 1),
            nn.ReLU(True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 16, 3, 1, 1),
            nn.ReLU(True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(16, 16, 3, 1, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(True),
            nn.MaxPool2d((2, 2), (2, 1), (0, 1)),
            nn.Conv2d(16, 16, 3, 1, 1),
            nn.ReLU(True),
            nn.MaxPool2d((2, 2), (2, 1), (0, 1)),
            nn.Conv2d(16, 16, 2, 1, 0),
            nn.ReLU(True),
        )
        self.rnn = nn.Sequential(BidirectionalLSTM(16, nh, nh), BidirectionalLSTM(nh, nh, nclass))

    def forward(self, input):
        conv = self.cnn(input)
        b, c, h, w = conv.size()
        assert h == 1, "the height of conv must be 1"
        conv = conv.squeeze(2)
        conv = conv.permute(2, 0, 1)  # [w, b, c]
        output = self.rnn(conv)
        return output


class SpeechRecognition(nn.Module):
    hyper_parameters = {"num_classes": 29, "n_feats": 81, "dropout": 0.1, "hidden_size": 32}

    def __init__(self, hidden_size, num_classes, n_feats, num_layers, dropout):
        super().__init__()
        self.num_layers = num_layers
        self.hidden_size = hidden_size
        self.cnn = nn.Sequential(nn.Conv1d(n_feats, n_feats, 10, 2, padding=10 // 2))
        self.dense = nn.Sequential(
            nn.Linear(n_feats, 16), nn.LayerNorm(16), nn.GELU(), nn.Dropout(dropout)
        )
        self.lstm = nn.LSTM(input_size=16, hidden_size=hidden_size, num_layers=num_layers)
        self.final_fc = nn.Linear(hidden_size, num_classes)

    def _init_hidden(self, batch_size):
        n, hs = self.num_layers, self.hidden_size
        return (torch.zeros(n * 1, batch_size, hs), torch.zeros(n * 1, batch_size, hs))

    def forward(self, x, hidden):
        x = x.squeeze(1)  # batch, feature, time
        x = self.cnn(x)
        x = x.transpose(1, 2)
        x = self.dense(x)
        x = x.transpose(0, 1)
        out, (hn, cn) = self.lstm(x, hidden)
        return self.final_fc(out), (hn, cn)


class Hparam:
    nmels = 40
    hidden = 24
    num_layer = 3
    proj = 12


hp = Hparam()


class SpeechEmbedder(nn.Module):
    def __init__(self):
        super(SpeechEmbedder, self).__init__()
        self.LSTM_stack = nn.LSTM(hp.nmels, hp.hidden, num_layers=hp.num_layer, batch_first=True)
        for name, param in self.LSTM_stack.named_parameters():
            if "bias" in name:
                nn.init.constant_(param, 0.0)
            elif "weight" in name:
                nn.init.xavier_normal_(param)
        self.projection = nn.Linear(hp.hidden, hp.proj)

    def forward(self, x):
        x, _ = self.LSTM_stack(x.float())  # (batch, frames, n_mels)
        x = x[:, x.size(1) - 1]
        x = self.projection(x.float())
        x = x / torch.norm(x, dim=1).unsqueeze(1)
        return x


class KeywordGRU(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.gru = nn.GRU(
            input_size=cfg["model"]["n_mels"],
            hidden_size=cfg["model"]["hidden_dim"],
            num_layers=cfg["model"]["num_layers"],
            batch_first=True,
        )
        self.classifier = nn.Linear(cfg["model"]["hidden_dim"], cfg["data"]["num_keywords"])

    def forward(self, spectrogram):
        out, _ = self.gru(spectrogram)
        return self.classifier(out.mean(dim=1))


class Listener(nn.Module):
    """Each layer halves the number of time steps."""

    def __init__(self, input_feature_dim, hidden_size, num_layers, rnn_unit, dropout_rate=0.0):
        super().__init__()
        unit = getattr(nn, rnn_unit.upper())
        width = input_feature_dim
        self.layers = nn.ModuleList()
        for _ in range(num_layers):
            self.layers.append(unit(width * 2, hidden_size, bidirectional=True, batch_first=True))
            width = hidden_size * 2

    def forward(self, input_x):
        for layer in self.layers:
            batch_size, timestep, feature_dim = input_x.size()
            input_x = input_x[:, : timestep // 2 * 2].contiguous()
            input_x = input_x.view(batch_size, timestep // 2, feature_dim * 2)
            input_x, _ = layer(input_x)
        return input_x


class DRQN(nn.Module):
    def __init__(self, state_size, action_size, hidden_size):
        super().__init__()
        self.fc1 = nn.Linear(state_size, hidden_size)
        self.lstm = nn.LSTM(hidden_size, hidden_size, batch_first=True)
        self.fc2 = nn.Linear(hidden_size, action_size)

    def forward(self, x, hidden_state, cell_state):
        x = F.relu(self.fc1(x))
        x, (h, c) = self.lstm(x, (hidden_state, cell_state))
        return self.fc2(x), h, c


class ActorCritic(nn.Module):
    def __init__(self, num_inputs, action_space, hidden=32):
        super().__init__()
        self.body = nn.Linear(num_inputs, hidden)
        self.lstm = nn.LSTMCell(hidden, hidden)
        self.critic_linear = nn.Linear(hidden, 1)
        self.actor_linear = nn.Linear(hidden, action_space.n)

    def forward(self, inputs):
        inputs, (hx, cx) = inputs
        x = F.elu(self.body(inputs))
        hx, cx = self.lstm(x, (hx, cx))
        x = hx
        return self.critic_linear(x), self.actor_linear(x), (hx, cx)


class MDNRNN(nn.Module):
    def __init__(self, latents, actions, hiddens, gaussians):
        super().__init__()
        self.latents = latents
        self.gaussians = gaussians
        self.rnn = nn.LSTM(latents + actions, hiddens)
        self.gmm_linear = nn.Linear(hiddens, (2 * latents + 1) * gaussians + 2)

    def forward(self, actions, latents):
        ins = torch.cat([actions, latents], dim=-1)
        outs, _ = self.rnn(ins)
        gmm_outs = self.gmm_linear(outs)
        stride = self.gaussians * self.latents
        mus = gmm_outs[:, :, :stride]
        sigmas = torch.exp(gmm_outs[:, :, stride : 2 * stride])
        logpi = F.log_softmax(gmm_outs[:, :, 2 * stride : 2 * stride + self.gaussians], dim=-1)
        return mus, sigmas, logpi


class ImageRNN(nn.Module):
    def __init__(self, batch_size, n_steps, n_inputs, n_neurons, n_outputs, device):
        super().__init__()
        self.device = device
        self.n_neurons = n_neurons
        self.batch_size = batch_size
        self.n_steps = n_steps
        self.n_inputs = n_inputs
        self.n_outputs = n_outputs
        self.basic_rnn = nn.RNN(self.n_inputs, self.n_neurons)
        self.FC = nn.Linear(self.n_neurons, self.n_outputs)

    def init_hidden(self):
        return torch.zeros(1, self.batch_size, self.n_neurons).to(self.device)

    def forward(self, X):
        X = X.permute(1, 0, 2)
        self.batch_size = X.size(1)
        self.hidden = self.init_hidden()
        _, self.hidden = self.basic_rnn(X, self.hidden)
        out = self.FC(self.hidden)
        return out.view(-1, self.n_outputs)


class RowsOfDigits(nn.Module):
    def __init__(self, input_size, hidden_size, num_layers, num_classes):
        super().__init__()
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.lstm = nn.LSTM(input_size, hidden_size, num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_size, num_classes)

    def forward(self, x):
        h0 = torch.zeros(self.num_layers, x.size(0), self.hidden_size).to(device)
        c0 = torch.zeros(self.num_layers, x.size(0), self.hidden_size).to(device)
        out, _ = self.lstm(x, (h0, c0))
        out = self.fc(out[:, -1, :])
        return out


class BiRowsOfDigits(nn.Module):
    """The read-out takes the last step, of which the backward half has read one row."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, num_classes: int):
        super().__init__()
        self.lstm = nn.LSTM(
            input_size, hidden_size, num_layers, batch_first=True, bidirectional=True
        )
        self.fc = nn.Linear(hidden_size * 2, num_classes)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.fc(out[:, -1, :])


class VideoClassifier(nn.Module):
    def __init__(self, num_classes=2, latent_dim=8, lstm_layers=1, hidden_dim=16):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, latent_dim),
        )
        self.lstm = nn.LSTM(latent_dim, hidden_dim, lstm_layers, batch_first=True)
        self.out = nn.Linear(hidden_dim, num_classes)

    def forward(self, x_3d):
        hidden = None
        for t in range(x_3d.size(1)):
            x = self.cnn(x_3d[:, t, :, :, :])
            out, hidden = self.lstm(x.unsqueeze(1), hidden)
        return self.out(out[:, -1])


class GRU4Rec(nn.Module):
    def __init__(
        self,
        input_size,
        hidden_size,
        output_size,
        num_layers=1,
        final_act="tanh",
        dropout_hidden=0.5,
        dropout_input=0,
        batch_size=50,
        embedding_dim=-1,
        use_cuda=True,
    ):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.batch_size = batch_size
        self.device = torch.device("cuda" if use_cuda else "cpu")
        self.h2o = nn.Linear(hidden_size, output_size)
        self.final_activation = nn.Tanh() if final_act == "tanh" else nn.Identity()
        self.gru = nn.GRU(self.input_size, self.hidden_size, num_layers, dropout=dropout_hidden)
        self = self.to(self.device)

    def forward(self, input, hidden):
        input = F.one_hot(input, self.input_size).float().unsqueeze(0)
        output, hidden = self.gru(input, hidden)
        output = output.view(-1, output.size(-1))
        logit = self.final_activation(self.h2o(output))
        return logit, hidden

    def init_hidden(self):
        return torch.zeros(self.num_layers, self.batch_size, self.hidden_size).to(self.device)


class HandmadeLSTM(nn.Module):
    def __init__(self, input_sz: int, hidden_sz: int):
        super().__init__()
        self.input_size = input_sz
        self.hidden_size = hidden_sz
        self.weight_ih = nn.Parameter(torch.Tensor(input_sz, hidden_sz * 4))
        self.weight_hh = nn.Parameter(torch.Tensor(hidden_sz, hidden_sz * 4))
        self.bias = nn.Parameter(torch.Tensor(hidden_sz * 4))
        self.init_weights()

    def init_weights(self):
        for p in self.parameters():
            if p.data.ndimension() >= 2:
                nn.init.xavier_uniform_(p.data)
            else:
                nn.init.zeros_(p.data)

    def forward(self, x, init_states=None):
        bs, seq_sz, _ = x.size()
        hidden_seq = []
        if init_states is None:
            h_t = torch.zeros(bs, self.hidden_size).to(x.device)
            c_t = torch.zeros(bs, self.hidden_size).to(x.device)
        else:
            h_t, c_t = init_states
        HS = self.hidden_size
        for t in range(seq_sz):
            gates = x[:, t, :] @ self.weight_ih + h_t @ self.weight_hh + self.bias
            i_t, f_t = torch.sigmoid(gates[:, :HS]), torch.sigmoid(gates[:, HS : HS * 2])
            g_t, o_t = torch.tanh(gates[:, HS * 2 : HS * 3]), torch.sigmoid(gates[:, HS * 3 :])
            c_t = f_t * c_t + i_t * g_t
            h_t = o_t * torch.tanh(c_t)
            hidden_seq.append(h_t.unsqueeze(0))
        hidden_seq = torch.cat(hidden_seq, dim=0).transpose(0, 1).contiguous()
        return hidden_seq, (h_t, c_t)
