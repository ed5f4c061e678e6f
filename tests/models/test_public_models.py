"""Models as people publish them are taken without an option, and get the faults that they have.

They are written in the manner of tutorials, theses and competitions, each with its own names for
arguments, its own way to keep states and its own layout. Some of them are wrong by the contract of
models, or get advice, most of them because of the device or the dtype of an initial state.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from rnnspec.api.model import check_model, prepare_model_suite
from rnnspec.options import ModelOptions
from rnnspec.report.data import Verdict

pytestmark = pytest.mark.filterwarnings("ignore:dropout option adds dropout")

FOLDER = Path(__file__).parent / "public"
MODELS: dict[str, dict[str, list[str]]] = {
    "text": {
        "SentimentLSTM": [],
        "TextRNN": ["readout.complete", "readout.padding"],
        "AttentionTextRNN": [],
        "SentimentRNN": [],
        "LSTMTagger": ["model.repeatable", "model.state-device", "model.state-dtype"],
        "BiLSTM_CRF": ["model.repeatable", "model.state-device", "model.state-dtype"],
        "LSTMClassifier": ["model.any-device", "model.state-dtype"],
        "NeuralNet": [],
        "MaskedTagger": [],
        "IntentSlotNet": ["readout.padding"],
        "WordListTagger": [],
        "WordAttention": ["model.float64"],
        "SiameseLSTM": ["readout.padding"],
        "NLIModel": [],
        "build_model": [],
    },
    "language": {
        "CharRNN": [],
        "RNNModel": [],
        "StepCharRNN": [],
        "NameRNN": [],
        "RNNLM": [],
        "TiedLM": [],
        "PoetryModel": ["model.state-dtype"],
        "WordLSTM": [],
        "KnowledgeTracer": [],
    },
    "translation": {
        "Encoder": [],
        "Decoder": [],
        "Seq2Seq": ["model.any-device", "model.float64"],
        "PackedEncoder": [],
        "LuongDecoder": [],
        "AttnDecoderRNN": [],
        "ToolkitEncoder": [],
        "CaptionDecoder": ["readout.complete"],
        "DateTranslator": [],
        "PointerNet": [],
        "SentenceVAE": ["model.repeatable", "model.state-device"],
    },
    "series": {
        "PassengersLSTM": ["model.repeatable", "model.state-device", "model.state-dtype"],
        "sine_waves": ["model.state-device"],
        "StockLSTM": ["model.state-device", "model.state-dtype"],
        "ShampooLSTM": ["model.state-device", "model.state-dtype"],
        "GRUNet": ["model.any-device"],
        "CNNLSTM": [],
        "RecurrentAutoencoder": [],
        "InputAttention": [],
        "LSTNet": [],
        "DeepAR": ["model.batch-of-one"],
        "WeatherRNN": ["readout.samples"],
        "Forecaster": [],
        "FlattenedLSTM": [],
        "KerasLikeModel": [],
    },
    "speech_images_games": {
        "BidirectionalLSTM": [],
        "CRNN": [],
        "SpeechRecognition": [],
        "SpeechEmbedder": ["model.float64"],
        "KeywordGRU": [],
        "Listener": [],
        "DRQN": [],
        "ActorCritic": [],
        "MDNRNN": [],
        "ImageRNN": ["model.any-device", "model.state-dtype"],
        "RowsOfDigits": ["model.any-device", "model.state-dtype"],
        "BiRowsOfDigits": ["readout.complete"],
        "VideoClassifier": [],
        "GRU4Rec": ["model.float64"],
        "HandmadeLSTM": ["model.float64"],
    },
}
"""The rules that each model breaks, by files."""
SAMPLE = {
    "TextRNN",
    "CharRNN",
    "StepCharRNN",
    "PassengersLSTM",
    "WeatherRNN",
    "KeywordGRU",
}
"""The models that are checked in the fast tier too."""
EVERY = [
    pytest.param(file, name, marks=[] if name in SAMPLE else [pytest.mark.slow], id=name)
    for file, models in MODELS.items()
    for name in models
]


@pytest.mark.mostly_slow
@pytest.mark.parametrize(("file", "name"), EVERY)
def test_a_model_is_taken_without_an_option_and_gets_its_faults(file: str, name: str) -> None:
    report = check_model(f"{FOLDER / file}.py:{name}", profile="quick")
    verdicts = Counter(each.verdict for each in report.results)
    assert not verdicts[Verdict.CHECKER_ERROR], [
        (each.rule, each.message)
        for each in report.results
        if each.verdict is Verdict.CHECKER_ERROR
    ]
    assert not verdicts[Verdict.UNREACHED]
    broken = {each.rule for each in report.results if each.verdict is Verdict.FAIL}
    assert broken == set(MODELS[file][name])


def test_there_are_sixty_models() -> None:
    assert sum(map(len, MODELS.values())) >= 60
    for file, models in MODELS.items():
        tree = ast.parse((FOLDER / f"{file}.py").read_text(encoding="utf-8"))
        assert set(models) <= {getattr(each, "name", "") for each in tree.body}


def choose(name: str) -> tuple[str, str]:
    """Return the arguments that are chosen for a model, and the expression that calls it."""
    (file,) = (file for file, models in MODELS.items() if name in models)
    suite, _ = prepare_model_suite(f"{FOLDER / file}.py:{name}", ModelOptions())
    arguments = ", ".join(f"{key}={value!r}" for key, value in suite.arguments.items())
    return arguments, suite.interface.call.expression


@pytest.mark.parametrize(
    ("name", "arguments", "call"),
    [
        (
            "KeywordGRU",
            "cfg=dict(model=dict(n_mels=6, hidden_dim=8, num_layers=2), "
            "data=dict(num_keywords=10))",
            "model(x)",
        ),
        (
            "AttentionTextRNN",
            "config=types.SimpleNamespace(n_vocab=20, embed=12, hidden_size=8, hidden_size2=8, "
            "num_classes=10)",
            "model(x)",
        ),
        ("TiedLM", None, "model(x)"),
        (
            "NLIModel",
            "params=dict(n_words=20, word_emb_dim=12, enc_lstm_dim=8, fc_dim=8, n_classes=10)",
            "model(x, lengths, torch.ones_like(x), lengths)",
        ),
        (
            "Seq2Seq",
            "encoder=Encoder(input_dim=6, emb_dim=12, hid_dim=8, n_layers=2, dropout=0.2), "
            "decoder=Decoder(output_dim=10, emb_dim=12, hid_dim=8, n_layers=2, dropout=0.2), "
            "device=torch.device('cpu')",
            "model(x, torch.ones_like(x), teacher_forcing_ratio=0).transpose(0, 1)",
        ),
        ("ImageRNN", None, "model(x)"),
        (
            "GRU4Rec",
            "input_size=6, hidden_size=8, output_size=10, use_cuda=False",
            "model(x[:, 0], None)[0]",
        ),
    ],
)
def test_the_arguments_and_the_call_are_chosen(name: str, arguments: str | None, call: str) -> None:
    chosen = choose(name)
    assert chosen == (chosen[0] if arguments is None else arguments, call)


def test_the_report_lists_the_chosen_arguments() -> None:
    report = check_model(
        f"{FOLDER / 'text.py'}:SentimentRNN", profile="quick", rules=["model.output-shape"]
    )
    assert report.inferred[0] == (
        "no_layers=2, vocab_size=20, hidden_dim=8, embedding_dim=12: chosen by rnnspec; "
        "set others with --arg"
    )
