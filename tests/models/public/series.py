"""Forecasters and other models of time series."""

import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd import Variable

device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


class PassengersLSTM(nn.Module):
    def __init__(self, input_size=1, hidden_layer_size=20, output_size=1):
        super().__init__()
        self.hidden_layer_size = hidden_layer_size
        self.lstm = nn.LSTM(input_size, hidden_layer_size)
        self.linear = nn.Linear(hidden_layer_size, output_size)
        self.hidden_cell = (
            torch.zeros(1, 1, self.hidden_layer_size),
            torch.zeros(1, 1, self.hidden_layer_size),
        )

    def forward(self, input_seq):
        lstm_out, self.hidden_cell = self.lstm(
            input_seq.view(len(input_seq), 1, -1), self.hidden_cell
        )
        predictions = self.linear(lstm_out.view(len(input_seq), -1))
        return predictions[-1]


class SineWaves(nn.Module):
    def __init__(self):
        super(SineWaves, self).__init__()
        self.lstm1 = nn.LSTMCell(1, 51)
        self.lstm2 = nn.LSTMCell(51, 51)
        self.linear = nn.Linear(51, 1)

    def forward(self, input, future=0):
        outputs = []
        h_t = torch.zeros(input.size(0), 51, dtype=torch.double)
        c_t = torch.zeros(input.size(0), 51, dtype=torch.double)
        h_t2 = torch.zeros(input.size(0), 51, dtype=torch.double)
        c_t2 = torch.zeros(input.size(0), 51, dtype=torch.double)
        for input_t in input.split(1, dim=1):
            h_t, c_t = self.lstm1(input_t, (h_t, c_t))
            h_t2, c_t2 = self.lstm2(h_t, (h_t2, c_t2))
            output = self.linear(h_t2)
            outputs += [output]
        for i in range(future):
            h_t, c_t = self.lstm1(output, (h_t, c_t))
            h_t2, c_t2 = self.lstm2(h_t, (h_t2, c_t2))
            output = self.linear(h_t2)
            outputs += [output]
        outputs = torch.cat(outputs, dim=1)
        return outputs


def sine_waves():
    seq = SineWaves()
    seq.double()
    return seq


class StockLSTM(nn.Module):
    def __init__(self, input_dim, hidden_dim, num_layers, output_dim):
        super(StockLSTM, self).__init__()
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.lstm = nn.LSTM(input_dim, hidden_dim, num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_dim, output_dim)

    def forward(self, x):
        h0 = torch.zeros(self.num_layers, x.size(0), self.hidden_dim).requires_grad_()
        c0 = torch.zeros(self.num_layers, x.size(0), self.hidden_dim).requires_grad_()
        out, (hn, cn) = self.lstm(x, (h0.detach(), c0.detach()))
        out = self.fc(out[:, -1, :])
        return out


class ShampooLSTM(nn.Module):
    def __init__(self, num_classes, input_size, hidden_size, num_layers, seq_length):
        super().__init__()
        self.num_classes = num_classes
        self.num_layers = num_layers
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.seq_length = seq_length
        self.lstm = nn.LSTM(
            input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, batch_first=True
        )
        self.fc = nn.Linear(hidden_size, num_classes)

    def forward(self, x):
        h_0 = Variable(torch.zeros(self.num_layers, x.size(0), self.hidden_size))
        c_0 = Variable(torch.zeros(self.num_layers, x.size(0), self.hidden_size))
        ula, (h_out, _) = self.lstm(x, (h_0, c_0))
        h_out = h_out[-1].view(-1, self.hidden_size)
        return self.fc(h_out)


class GRUNet(nn.Module):
    def __init__(self, input_dim, hidden_dim, output_dim, n_layers, drop_prob=0.2):
        super(GRUNet, self).__init__()
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.gru = nn.GRU(input_dim, hidden_dim, n_layers, batch_first=True, dropout=drop_prob)
        self.fc = nn.Linear(hidden_dim, output_dim)
        self.relu = nn.ReLU()

    def forward(self, x, h):
        out, h = self.gru(x, h)
        out = self.fc(self.relu(out[:, -1]))
        return out, h

    def init_hidden(self, batch_size):
        weight = next(self.parameters()).data
        hidden = weight.new(self.n_layers, batch_size, self.hidden_dim).zero_().to(device)
        return hidden


class CNNLSTM(nn.Module):
    def __init__(self, in_channels, conv_filters, kernel_size, lstm_units, horizon):
        super().__init__()
        self.conv1 = nn.Conv1d(in_channels, conv_filters, kernel_size, padding=kernel_size // 2)
        self.pool = nn.MaxPool1d(2)
        self.lstm = nn.LSTM(conv_filters, lstm_units, batch_first=True)
        self.dense = nn.Linear(lstm_units, horizon)

    def forward(self, x):
        x = F.relu(self.conv1(x.permute(0, 2, 1)))
        x = self.pool(x).permute(0, 2, 1)
        x, _ = self.lstm(x)
        return self.dense(x[:, -1])


class SeriesEncoder(nn.Module):
    def __init__(self, seq_len, n_features, embedding_dim=64):
        super().__init__()
        self.seq_len, self.n_features = seq_len, n_features
        self.embedding_dim, self.hidden_dim = embedding_dim, 2 * embedding_dim
        self.rnn1 = nn.LSTM(n_features, self.hidden_dim, num_layers=1, batch_first=True)
        self.rnn2 = nn.LSTM(self.hidden_dim, embedding_dim, num_layers=1, batch_first=True)

    def forward(self, x):
        x = x.reshape((1, self.seq_len, self.n_features))
        x, (_, _) = self.rnn1(x)
        x, (hidden_n, _) = self.rnn2(x)
        return hidden_n.reshape((1, self.embedding_dim))


class SeriesDecoder(nn.Module):
    def __init__(self, seq_len, input_dim=64, n_features=1):
        super().__init__()
        self.seq_len, self.input_dim = seq_len, input_dim
        self.hidden_dim, self.n_features = 2 * input_dim, n_features
        self.rnn1 = nn.LSTM(input_dim, input_dim, num_layers=1, batch_first=True)
        self.rnn2 = nn.LSTM(input_dim, self.hidden_dim, num_layers=1, batch_first=True)
        self.output_layer = nn.Linear(self.hidden_dim, n_features)

    def forward(self, x):
        x = x.repeat(self.seq_len, 1)
        x = x.reshape((1, self.seq_len, self.input_dim))
        x, _ = self.rnn1(x)
        x, _ = self.rnn2(x)
        x = x.reshape((self.seq_len, self.hidden_dim))
        return self.output_layer(x)


class RecurrentAutoencoder(nn.Module):
    def __init__(self, seq_len, n_features, embedding_dim=16):
        super().__init__()
        self.encoder = SeriesEncoder(seq_len, n_features, embedding_dim).to(device)
        self.decoder = SeriesDecoder(seq_len, embedding_dim, n_features).to(device)

    def forward(self, x):
        return self.decoder(self.encoder(x))


class InputAttention(nn.Module):
    """The encoder of a dual-stage attention network, with a state for each time step."""

    def __init__(self, input_size: int, encoder_num_hidden: int, T: int):
        super().__init__()
        self.T = T
        self.input_size = input_size
        self.n_hidden = encoder_num_hidden
        self.encoder_lstm = nn.LSTM(input_size=input_size, hidden_size=encoder_num_hidden)
        self.encoder_attn = nn.Linear(2 * encoder_num_hidden + T - 1, 1)

    def forward(self, X):
        X_encoded = X.data.new(X.size(0), self.T - 1, self.n_hidden).zero_()
        h_n = X.data.new(1, X.size(0), self.n_hidden).zero_()
        s_n = X.data.new(1, X.size(0), self.n_hidden).zero_()
        for t in range(self.T - 1):
            x = torch.cat(
                (
                    h_n.repeat(self.input_size, 1, 1).permute(1, 0, 2),
                    s_n.repeat(self.input_size, 1, 1).permute(1, 0, 2),
                    X.permute(0, 2, 1),
                ),
                dim=2,
            )
            x = self.encoder_attn(x.view(-1, self.n_hidden * 2 + self.T - 1))
            alpha = F.softmax(x.view(-1, self.input_size), dim=1)
            x_tilde = torch.mul(alpha, X[:, t, :])
            _, (h_n, s_n) = self.encoder_lstm(x_tilde.unsqueeze(0), (h_n, s_n))
            X_encoded[:, t, :] = h_n
        return X_encoded


class LSTNet(nn.Module):
    def __init__(self, args, data):
        super().__init__()
        self.P = args.window
        self.m = data.m
        self.hidR = args.hidRNN
        self.hidC = args.hidCNN
        self.Ck = args.CNN_kernel
        self.conv1 = nn.Conv2d(1, self.hidC, kernel_size=(self.Ck, self.m))
        self.GRU1 = nn.GRU(self.hidC, self.hidR)
        self.dropout = nn.Dropout(p=args.dropout)
        self.linear1 = nn.Linear(self.hidR, self.m)
        self.output = None
        if args.output_fun == "sigmoid":
            self.output = torch.sigmoid
        if args.output_fun == "tanh":
            self.output = torch.tanh

    def forward(self, x):
        batch_size = x.size(0)
        c = x.view(-1, 1, self.P, self.m)
        c = F.relu(self.conv1(c))
        c = self.dropout(c)
        c = torch.squeeze(c, 3)
        r = c.permute(2, 0, 1).contiguous()
        _, r = self.GRU1(r)
        r = self.dropout(torch.squeeze(r, 0))
        res = self.linear1(r)
        if self.output:
            res = self.output(res)
        return res.view(batch_size, -1)


class DeepAR(nn.Module):
    def __init__(self, params):
        super().__init__()
        self.params = params
        self.embedding = nn.Embedding(params.num_class, params.embedding_dim)
        self.lstm = nn.LSTM(
            input_size=1 + params.cov_dim + params.embedding_dim,
            hidden_size=params.lstm_hidden_dim,
            num_layers=params.lstm_layers,
            dropout=params.lstm_dropout,
        )
        self.distribution_mu = nn.Linear(params.lstm_hidden_dim * params.lstm_layers, 1)
        self.distribution_sigma = nn.Softplus()

    def forward(self, x, idx, hidden, cell):
        """Take one step x (1, N, 1 + cov_dim), ids of series (1, N), and the states."""
        onehot_embed = self.embedding(idx)
        lstm_input = torch.cat((x, onehot_embed), dim=2)
        output, (hidden, cell) = self.lstm(lstm_input, (hidden, cell))
        hidden_permute = hidden.permute(1, 2, 0).contiguous().view(hidden.shape[1], -1)
        mu = self.distribution_mu(hidden_permute)
        return torch.squeeze(mu), hidden, cell

    def init_hidden(self, input_size):
        return torch.zeros(self.params.lstm_layers, input_size, self.params.lstm_hidden_dim)

    def init_cell(self, input_size):
        return torch.zeros(self.params.lstm_layers, input_size, self.params.lstm_hidden_dim)


class WeatherRNN(nn.Module):
    """Its data is (batch, steps, features), and the layer has no batch_first."""

    def __init__(self, n_features, n_hidden, n_out):
        super().__init__()
        self.rnn = nn.RNN(n_features, n_hidden)
        self.head = nn.Sequential(
            nn.Linear(n_hidden, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_out)
        )

    def forward(self, x):
        out, _ = self.rnn(x)
        return self.head(out[:, -1, :])


class Forecaster(nn.Module):
    def __init__(self, n_features, hidden_size, num_layers, output_length, device="cuda"):
        super().__init__()
        self.device = torch.device(device)
        self.output_length = output_length
        self.encoder = nn.GRU(n_features, hidden_size, num_layers, batch_first=True)
        self.decoder = nn.GRU(n_features, hidden_size, num_layers, batch_first=True)
        self.project = nn.Linear(hidden_size, n_features)
        self.to(self.device)

    def forward(self, source, target, teacher_forcing_ratio):
        _, state = self.encoder(source)
        step, outputs = source[:, -1:], []
        for t in range(target.size(1)):
            out, state = self.decoder(step, state)
            prediction = self.project(out)
            outputs.append(prediction)
            use_target = random.random() < teacher_forcing_ratio
            step = target[:, t : t + 1] if use_target else prediction
        return torch.cat(outputs, dim=1)


class FlattenedLSTM(nn.Module):
    def __init__(self, num_sensors, hidden_units, window_size, out_features):
        super().__init__()
        self.hidden_units = hidden_units
        self.lstm = nn.LSTM(input_size=num_sensors, hidden_size=hidden_units, batch_first=True)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(hidden_units * window_size, out_features)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.linear(self.flatten(out))


class TimeDistributed(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        y = self.module(x.contiguous().view(-1, x.size(-1)))
        return y.view(x.size(0), -1, y.size(-1))


class KerasLikeModel(nn.Module):
    def __init__(self, input_shape, units=(16, 8), activation="tanh", output_units=1):
        super().__init__()
        seq_len, features = input_shape
        self.layers = nn.ModuleList()
        for width in units:
            self.layers.append(nn.LSTM(features, width, batch_first=True))
            features = width
        self.activation = getattr(torch, activation)
        self.out = TimeDistributed(nn.Linear(features, output_units))

    def forward(self, x):
        for layer in self.layers:
            x = self.activation(layer(x)[0])
        return self.out(x)
