"""Classifiers, taggers and models of pairs of sentences."""

import argparse
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd import Variable
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class SentimentLSTM(nn.Module):
    def __init__(
        self,
        vocab_size,
        embedding_dim,
        hidden_dim,
        output_dim,
        n_layers,
        bidirectional,
        dropout,
        pad_idx,
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=pad_idx)
        self.rnn = nn.LSTM(
            embedding_dim,
            hidden_dim,
            num_layers=n_layers,
            bidirectional=bidirectional,
            dropout=dropout,
        )
        self.fc = nn.Linear(hidden_dim * 2, output_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, text, text_lengths):
        # text = [sent len, batch size]
        embedded = self.dropout(self.embedding(text))
        packed_embedded = pack_padded_sequence(embedded, text_lengths.to("cpu"))
        packed_output, (hidden, cell) = self.rnn(packed_embedded)
        hidden = self.dropout(torch.cat((hidden[-2, :, :], hidden[-1, :, :]), dim=1))
        return self.fc(hidden)


class TextRNN(nn.Module):
    def __init__(self, config):
        super(TextRNN, self).__init__()
        if config.embedding_pretrained is not None:
            self.embedding = nn.Embedding.from_pretrained(config.embedding_pretrained, freeze=False)
        else:
            self.embedding = nn.Embedding(
                config.n_vocab, config.embed, padding_idx=config.n_vocab - 1
            )
        self.lstm = nn.LSTM(
            config.embed,
            config.hidden_size,
            config.num_layers,
            bidirectional=True,
            batch_first=True,
            dropout=config.dropout,
        )
        self.fc = nn.Linear(config.hidden_size * 2, config.num_classes)

    def forward(self, x):
        x, _ = x
        out = self.embedding(x)  # [batch_size, seq_len, embeding]
        out, _ = self.lstm(out)
        out = self.fc(out[:, -1, :])
        return out


class Config(object):
    def __init__(self, dataset, embedding):
        self.model_name = "TextRNN_Att"
        self.train_path = dataset + "/data/train.txt"
        self.class_list = [x.strip() for x in open(dataset + "/data/class.txt").readlines()]
        self.embedding_pretrained = torch.tensor(np.load(dataset + "/data/" + embedding))
        self.hidden_size = 128


class AttentionTextRNN(nn.Module):
    def __init__(self, config):
        super(AttentionTextRNN, self).__init__()
        self.embedding = nn.Embedding(config.n_vocab, config.embed)
        self.lstm = nn.LSTM(config.embed, config.hidden_size, bidirectional=True, batch_first=True)
        self.tanh1 = nn.Tanh()
        self.w = nn.Parameter(torch.zeros(config.hidden_size * 2))
        self.tanh2 = nn.Tanh()
        self.fc1 = nn.Linear(config.hidden_size * 2, config.hidden_size2)
        self.fc = nn.Linear(config.hidden_size2, config.num_classes)

    def forward(self, x):
        emb = self.embedding(x)
        H, _ = self.lstm(emb)
        M = self.tanh1(H)
        alpha = F.softmax(torch.matmul(M, self.w), dim=1).unsqueeze(-1)
        out = H * alpha
        out = torch.sum(out, 1)
        out = F.relu(out)
        out = self.fc1(out)
        return self.fc(out)


class SentimentRNN(nn.Module):
    def __init__(self, no_layers, vocab_size, hidden_dim, embedding_dim, drop_prob=0.5):
        super(SentimentRNN, self).__init__()
        self.output_dim = 1
        self.hidden_dim = hidden_dim
        self.no_layers = no_layers
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.lstm = nn.LSTM(
            input_size=embedding_dim, hidden_size=hidden_dim, num_layers=no_layers, batch_first=True
        )
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(self.hidden_dim, self.output_dim)
        self.sig = nn.Sigmoid()

    def forward(self, x, hidden):
        batch_size = x.size(0)
        embeds = self.embedding(x)
        lstm_out, hidden = self.lstm(embeds, hidden)
        lstm_out = lstm_out.contiguous().view(-1, self.hidden_dim)
        out = self.dropout(lstm_out)
        out = self.fc(out)
        sig_out = self.sig(out)
        sig_out = sig_out.view(batch_size, -1)
        sig_out = sig_out[:, -1]
        return sig_out, hidden

    def init_hidden(self, batch_size):
        h0 = torch.zeros((self.no_layers, batch_size, self.hidden_dim)).to(device)
        c0 = torch.zeros((self.no_layers, batch_size, self.hidden_dim)).to(device)
        hidden = (h0, c0)
        return hidden


class LSTMTagger(nn.Module):
    def __init__(self, embedding_dim, hidden_dim, vocab_size, tagset_size):
        super(LSTMTagger, self).__init__()
        self.hidden_dim = hidden_dim
        self.word_embeddings = nn.Embedding(vocab_size, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim)
        self.hidden2tag = nn.Linear(hidden_dim, tagset_size)
        self.hidden = self.init_hidden()

    def init_hidden(self):
        return (torch.zeros(1, 1, self.hidden_dim), torch.zeros(1, 1, self.hidden_dim))

    def forward(self, sentence):
        embeds = self.word_embeddings(sentence)
        lstm_out, self.hidden = self.lstm(embeds.view(len(sentence), 1, -1), self.hidden)
        tag_space = self.hidden2tag(lstm_out.view(len(sentence), -1))
        return F.log_softmax(tag_space, dim=1)


START_TAG = "<START>"
STOP_TAG = "<STOP>"


class BiLSTM_CRF(nn.Module):
    def __init__(self, vocab_size, tag_to_ix, embedding_dim, hidden_dim):
        super(BiLSTM_CRF, self).__init__()
        self.hidden_dim = hidden_dim
        self.tag_to_ix = tag_to_ix
        self.tagset_size = len(tag_to_ix)
        self.word_embeds = nn.Embedding(vocab_size, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim // 2, num_layers=1, bidirectional=True)
        self.hidden2tag = nn.Linear(hidden_dim, self.tagset_size)
        self.transitions = nn.Parameter(torch.randn(self.tagset_size, self.tagset_size))
        self.transitions.data[tag_to_ix[START_TAG], :] = -10000
        self.transitions.data[:, tag_to_ix[STOP_TAG]] = -10000
        self.hidden = self.init_hidden()

    def init_hidden(self):
        return (torch.randn(2, 1, self.hidden_dim // 2), torch.randn(2, 1, self.hidden_dim // 2))

    def _get_lstm_features(self, sentence):
        self.hidden = self.init_hidden()
        embeds = self.word_embeds(sentence).view(len(sentence), 1, -1)
        lstm_out, self.hidden = self.lstm(embeds, self.hidden)
        lstm_out = lstm_out.view(len(sentence), self.hidden_dim)
        return self.hidden2tag(lstm_out)

    def _viterbi_decode(self, feats):
        backpointers = []
        init_vvars = torch.full((1, self.tagset_size), -10000.0)
        init_vvars[0][self.tag_to_ix[START_TAG]] = 0
        forward_var = init_vvars
        for feat in feats:
            scores = forward_var + self.transitions
            viterbivars_t, bptrs_t = scores.max(1)
            forward_var = (viterbivars_t + feat).view(1, -1)
            backpointers.append(bptrs_t)
        terminal_var = forward_var + self.transitions[self.tag_to_ix[STOP_TAG]]
        best_tag_id = int(terminal_var.argmax())
        path_score = terminal_var[0][best_tag_id]
        best_path = [best_tag_id]
        for bptrs_t in reversed(backpointers):
            best_tag_id = int(bptrs_t[best_tag_id])
            best_path.append(best_tag_id)
        best_path.reverse()
        return path_score, best_path

    def forward(self, sentence):
        lstm_feats = self._get_lstm_features(sentence)
        score, tag_seq = self._viterbi_decode(lstm_feats)
        return score, tag_seq


class LSTMClassifier(nn.Module):
    def __init__(self, batch_size, output_size, hidden_size, vocab_size, embedding_length, weights):
        super(LSTMClassifier, self).__init__()
        self.batch_size = batch_size
        self.output_size = output_size
        self.hidden_size = hidden_size
        self.vocab_size = vocab_size
        self.embedding_length = embedding_length
        self.word_embeddings = nn.Embedding(vocab_size, embedding_length)
        self.word_embeddings.weight = nn.Parameter(weights, requires_grad=False)
        self.lstm = nn.LSTM(embedding_length, hidden_size)
        self.label = nn.Linear(hidden_size, output_size)

    def forward(self, input_sentence, batch_size=None):
        input = self.word_embeddings(input_sentence)
        input = input.permute(1, 0, 2)
        if batch_size is None:
            h_0 = Variable(torch.zeros(1, self.batch_size, self.hidden_size).to(device))
            c_0 = Variable(torch.zeros(1, self.batch_size, self.hidden_size).to(device))
        else:
            h_0 = Variable(torch.zeros(1, batch_size, self.hidden_size).to(device))
            c_0 = Variable(torch.zeros(1, batch_size, self.hidden_size).to(device))
        output, (final_hidden_state, final_cell_state) = self.lstm(input, (h_0, c_0))
        final_output = self.label(final_hidden_state[-1])
        return final_output


class SpatialDropout(nn.Dropout2d):
    def forward(self, x):
        x = x.unsqueeze(2).permute(0, 3, 2, 1)
        x = super(SpatialDropout, self).forward(x)
        return x.permute(0, 3, 2, 1).squeeze(2)


LSTM_UNITS = 16
DENSE_HIDDEN_UNITS = 4 * LSTM_UNITS


class NeuralNet(nn.Module):
    def __init__(self, embedding_matrix, num_aux_targets):
        super(NeuralNet, self).__init__()
        embed_size = embedding_matrix.shape[1]
        self.embedding = nn.Embedding(embedding_matrix.shape[0], embed_size)
        self.embedding.weight = nn.Parameter(torch.tensor(embedding_matrix, dtype=torch.float32))
        self.embedding.weight.requires_grad = False
        self.embedding_dropout = SpatialDropout(0.3)
        self.lstm1 = nn.LSTM(embed_size, LSTM_UNITS, bidirectional=True, batch_first=True)
        self.lstm2 = nn.LSTM(LSTM_UNITS * 2, LSTM_UNITS, bidirectional=True, batch_first=True)
        self.linear1 = nn.Linear(DENSE_HIDDEN_UNITS, DENSE_HIDDEN_UNITS)
        self.linear2 = nn.Linear(DENSE_HIDDEN_UNITS, DENSE_HIDDEN_UNITS)
        self.linear_out = nn.Linear(DENSE_HIDDEN_UNITS, 1)
        self.linear_aux_out = nn.Linear(DENSE_HIDDEN_UNITS, num_aux_targets)

    def forward(self, x):
        h_embedding = self.embedding(x)
        h_embedding = self.embedding_dropout(h_embedding)
        h_lstm1, _ = self.lstm1(h_embedding)
        h_lstm2, _ = self.lstm2(h_lstm1)
        avg_pool = torch.mean(h_lstm2, 1)
        max_pool, _ = torch.max(h_lstm2, 1)
        h_conc = torch.cat((max_pool, avg_pool), 1)
        h_conc_linear1 = F.relu(self.linear1(h_conc))
        h_conc_linear2 = F.relu(self.linear2(h_conc))
        hidden = h_conc + h_conc_linear1 + h_conc_linear2
        result = self.linear_out(hidden)
        aux_result = self.linear_aux_out(hidden)
        return torch.cat([result, aux_result], 1)


class MaskedTagger(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.args = args
        self.embed = nn.Embedding(args.vocab_size, args.word_dim, padding_idx=0)
        self.rnn = nn.GRU(args.word_dim, args.rnn_hidden // 2, bidirectional=True, batch_first=True)
        self.drop = nn.Dropout(args.dropout)
        self.out = nn.Linear(args.rnn_hidden, args.num_labels)

    def forward(self, input_ids, attention_mask, labels=None):
        lengths = attention_mask.sum(dim=1).cpu()
        x = self.drop(self.embed(input_ids))
        x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        x, _ = self.rnn(x)
        x, _ = pad_packed_sequence(x, batch_first=True, total_length=input_ids.size(1))
        logits = self.out(x)
        if labels is not None:
            loss = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100)
            return loss, logits
        return logits


class IntentSlotNet(nn.Module):
    def __init__(self, word2idx, intent2idx, slot2idx, emb=32, hidden=24):
        super().__init__()
        self.embedding = nn.Embedding(len(word2idx), emb, padding_idx=word2idx["<PAD>"])
        self.lstm = nn.LSTM(emb, hidden, batch_first=True, bidirectional=True)
        self.intent = nn.Linear(2 * hidden, len(intent2idx))
        self.slots = nn.Linear(2 * hidden, len(slot2idx))

    def forward(self, words):
        outputs, (h, _) = self.lstm(self.embedding(words))
        intent = self.intent(torch.cat([h[0], h[1]], dim=-1))
        return intent, self.slots(outputs)


class WordListTagger(nn.Module):
    def __init__(self, words, tags, dim: int = 20):
        super().__init__()
        self.word_ids = {w: i for i, w in enumerate(sorted(set(words)))}
        self.tags = list(tags)
        self.embed = nn.Embedding(len(self.word_ids) + 1, dim)
        self.cell_f = nn.GRUCell(dim, dim)
        self.out = nn.Linear(dim, len(self.tags))

    def forward(self, sent):
        e = self.embed(sent)
        h = e.new_zeros(e.size(0), e.size(2))
        outs = []
        for t in range(e.size(1)):
            h = self.cell_f(e[:, t], h)
            outs.append(self.out(h))
        return torch.stack(outs, dim=1)


class WordAttention(nn.Module):
    """The word level of a hierarchical attention network."""

    def __init__(self, word_embedding_size, hidden_size, vocab_len, dropout_p):
        super().__init__()
        self.lookup = nn.Embedding(vocab_len, word_embedding_size)
        self.gru = nn.GRU(word_embedding_size, hidden_size, bidirectional=True)
        self.word_weight = nn.Parameter(torch.Tensor(2 * hidden_size, 2 * hidden_size))
        self.context_weight = nn.Parameter(torch.Tensor(2 * hidden_size, 1))
        self.drop = nn.Dropout(dropout_p)
        self._create_weights(mean=0.0, std=0.05)

    def _create_weights(self, mean=0.0, std=0.05):
        self.word_weight.data.normal_(mean, std)
        self.context_weight.data.normal_(mean, std)

    def forward(self, input, hidden_state):
        output = self.drop(self.lookup(input))
        f_output, h_output = self.gru(output.float(), hidden_state)
        u = torch.tanh(torch.matmul(f_output, self.word_weight))
        a = F.softmax(torch.matmul(u, self.context_weight).squeeze(-1), dim=0)
        pooled = (a.unsqueeze(-1) * f_output).sum(0)
        return pooled, h_output


class SiameseLSTM(nn.Module):
    def __init__(self, opt):
        super(SiameseLSTM, self).__init__()
        self.embedding = nn.Embedding(opt.num_words, opt.emb_dim, padding_idx=0)
        self.lstm = nn.LSTM(opt.emb_dim, opt.hidden_dim, batch_first=True)
        self.fc = nn.Linear(opt.hidden_dim, opt.out_dim)

    def forward_once(self, x):
        _, (h, _) = self.lstm(self.embedding(x))
        return self.fc(h[-1])

    def forward(self, sentence1, sentence2):
        a, b = self.forward_once(sentence1), self.forward_once(sentence2)
        return torch.exp(-torch.sum(torch.abs(a - b), dim=1))


class NLIModel(nn.Module):
    def __init__(self, params: dict):
        super().__init__()
        self.embed = nn.Embedding(params["n_words"], params["word_emb_dim"])
        self.encoder = nn.LSTM(
            params["word_emb_dim"], params["enc_lstm_dim"], 1, bidirectional=True
        )
        self.pool_type = params.get("pool_type", "max")
        inputdim = 4 * 2 * params["enc_lstm_dim"]
        self.classifier = nn.Sequential(
            nn.Linear(inputdim, params["fc_dim"]),
            nn.Tanh(),
            nn.Linear(params["fc_dim"], params["n_classes"]),
        )

    def encode(self, sent, sent_len):
        packed = pack_padded_sequence(self.embed(sent), sent_len.cpu(), enforce_sorted=False)
        out = pad_packed_sequence(self.encoder(packed)[0], padding_value=-1e9)[0]
        return out.max(0)[0]

    def forward(self, s1, s1_len, s2, s2_len):
        u, v = self.encode(s1, s1_len), self.encode(s2, s2_len)
        features = torch.cat((u, v, torch.abs(u - v), u * v), 1)
        return self.classifier(features)


def get_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--classes", type=int, default=4)
    return parser.parse_args([])


def build_model(args=None):
    args = args or get_args()
    return AttentionTextRNN(
        SimpleNamespace(
            n_vocab=100,
            embed=12,
            hidden_size=args.hidden,
            hidden_size2=8,
            num_classes=args.classes,
        )
    )
