"""Infer the meaning of an argument from its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from rnnspec.contract.kinds import UNGATED
from rnnspec.models.signature import BATCH

LONGEST = 128
"""A limit that no sequence of a check exceeds, except in a thorough run if steps are not fixed."""


@dataclass(frozen=True)
class InputSizes:
    """The sizes for arguments with a known meaning.

    All differ from each other and from the batch sizes, so that they distinguish dimensions.
    """

    vocabulary: int = 20
    embedding: int = 12
    hidden: int = 8
    features: int = 6
    outputs: int = 10
    layers: int = 2
    directions: int = 2


OTHER_SIZES = (
    InputSizes(layers=1),
    InputSizes(directions=1),
    InputSizes(embedding=8, features=8),
    InputSizes(layers=1, directions=1),
    InputSizes(embedding=8, features=8, layers=1, directions=1),
    InputSizes(embedding=16, hidden=16, features=16, outputs=16, layers=1, directions=1),
    InputSizes(outputs=1),
)
"""Further sizes, for models that need equal sizes, or a single layer or direction."""


class ArgumentMeaning(Enum):
    """The meaning of an argument."""

    BATCH = auto()
    SWITCH = auto()
    BIDIRECTIONAL = auto()
    DIRECTIONS = auto()
    GPU = auto()
    DEVICE = auto()
    DROPOUT = auto()
    RATE = auto()
    ID = auto()
    LAYERS = auto()
    HEADS = auto()
    KERNEL = auto()
    FACTOR = auto()
    MIXTURES = auto()
    CHANNELS = auto()
    FILTERS = auto()
    HEIGHT = auto()
    MATRIX = auto()
    MAPPING = auto()
    WORDS = auto()
    CLASSES = auto()
    LIMIT = auto()
    HORIZON = auto()
    STEPS = auto()
    VOCABULARY = auto()
    EMBEDDING = auto()
    OUTPUTS = auto()
    HIDDEN = auto()
    FEATURES = auto()
    SHAPE = auto()
    KIND = auto()
    ACTIVATION = auto()
    ATTENTION = auto()
    MODULE = auto()
    CONFIG = auto()
    TEXT = auto()
    LOSS = auto()
    UNKNOWN = auto()


WHOLE: dict[ArgumentMeaning, str] = {
    ArgumentMeaning.CONFIG: (
        "config configs cfg conf args arg opt opts option options hparam hparams hp hps params "
        "param parameters setting settings flags kwargs arguments configuration hyperparams"
    ),
    ArgumentMeaning.WORDS: (
        "words tokens chars characters alphabet letters symbols vocab lexicon charset"
    ),
    ArgumentMeaning.CLASSES: "tags labels classes slots intents categories tagset",
    ArgumentMeaning.MODULE: (
        "encoder decoder attention enc dec cnn fc head backbone embedder generator"
    ),
    ArgumentMeaning.DROPOUT: "p dp do",
    ArgumentMeaning.STEPS: "T P",
    ArgumentMeaning.CHANNELS: "nc channels in_channels input_channels num_channels n_channels",
    ArgumentMeaning.KIND: "rnn lstm gru cell unit mode model arch",
    ArgumentMeaning.ATTENTION: "method attn align",
    ArgumentMeaning.MATRIX: "weights weight vectors pretrained",
    ArgumentMeaning.LAYERS: "layer_dim nlayers layers depth",
}
"""Names whose meaning as a whole differs from the meaning of their words."""

PARTS: tuple[tuple[ArgumentMeaning, str], ...] = (
    (ArgumentMeaning.SWITCH, "is use with has tie tied tying freeze share shared"),
    (ArgumentMeaning.GPU, "gpu gpus cuda"),
    (ArgumentMeaning.DEVICE, "device"),
    (ArgumentMeaning.BIDIRECTIONAL, "bi bid bidir bidirectional bidirection birnn bilstm bigru"),
    (ArgumentMeaning.DIRECTIONS, "directions"),
    (ArgumentMeaning.DROPOUT, "drop dropout dropouts dropprob keep zoneout"),
    (ArgumentMeaning.CONFIG, "config cfg conf hparams options settings"),
    (
        ArgumentMeaning.MATRIX,
        "matrix mat weight weights vector vectors vecs pretrained glove word2vec wv",
    ),
    (
        ArgumentMeaning.SWITCH,
        "do return enable apply learn finetune fine train training update bias residual norm "
        "batchnorm layernorm bn verbose debug first flag sorted variable",
    ),
    (ArgumentMeaning.ID, "pad padding sos bos go start begin eos end stop unk unknown mask blank"),
    (
        ArgumentMeaning.RATE,
        "lr rate ratio prob probability momentum decay eps epsilon alpha beta gamma temperature "
        "temp clip coef std tau slope forcing",
    ),
    (ArgumentMeaning.SHAPE, "shape"),
    (ArgumentMeaning.KIND, "type kind mode name arch"),
    (ArgumentMeaning.LAYERS, "layers stacks blocks rnns recs lstms grus lyrs"),
    (ArgumentMeaning.HEADS, "heads head nhead"),
    (ArgumentMeaning.KERNEL, "kernel ksize"),
    (
        ArgumentMeaning.FACTOR,
        "stride dilation groups pool pooling factor maxout hops expansion",
    ),
    (ArgumentMeaning.MIXTURES, "gaussians gaussian mixtures mixture mixes components kmix"),
    (ArgumentMeaning.FILTERS, "filter filters kernels conv cnn"),
    (ArgumentMeaning.HEIGHT, "height img image"),
    (ArgumentMeaning.ACTIVATION, "activation activ act nonlinearity fun func function fn"),
    (
        ArgumentMeaning.MAPPING,
        "word2idx word2id word2ix word2index char2idx tag2idx tag2id label2idx label2id stoi "
        "intent2idx slot2idx token2idx w2i to dictionary mapping",
    ),
    (ArgumentMeaning.HORIZON, "horizon future ahead pred prediction forecast lookahead"),
    (ArgumentMeaning.VOCABULARY, "vocab vocabs vocabulary voc vsz dict charset lexicon lang"),
    (
        ArgumentMeaning.EMBEDDING,
        "emb embs embed embeds embedd embedding embeddings wordvec ninp emsize",
    ),
    (
        ArgumentMeaning.STEPS,
        "seq sequence sent len length lengths steps step timesteps timestep time window lookback "
        "past history frames bptt",
    ),
    (
        ArgumentMeaning.HIDDEN,
        "hidden hiddens hid nhid nh h units neurons cells latent latents z enc dec encoder "
        "decoder attention attn att key value query proj projection fc dense linear mlp ffn "
        "context memory bottleneck rnn lstm gru cell unit model",
    ),
    (
        ArgumentMeaning.OUTPUTS,
        "output outputs out target targets label labels class classes tag tags tagset action "
        "actions category categories intent intents slot slots keywords speakers emotions "
        "phonemes polarities ner nclass nclasses nout aux",
    ),
    (
        ArgumentMeaning.VOCABULARY,
        "tokens token ntoken ntokens words word nwords chars char characters symbols items item "
        "users user skills skill questions question q concepts alphabet v",
    ),
    (
        ArgumentMeaning.FEATURES,
        "feature features feat feats nfeat input inputs in inp nin idim sensor sensors mel mels "
        "nmels mfcc mfccs freq freqs bins state states obs observation variable variables var "
        "vars series x cov channel audio visual data",
    ),
    (ArgumentMeaning.LAYERS, "layer"),
    (ArgumentMeaning.HIDDEN, "d dim dims size width da u"),
    (ArgumentMeaning.LOSS, "loss criterion optimizer optim scheduler logger writer"),
    (ArgumentMeaning.TEXT, "path file dir folder checkpoint prefix title version"),
    (ArgumentMeaning.MODULE, "module net network classifier base"),
)
"""Words in names, in the order of the search."""

MOST = frozenset(["max", "maxlen", "maximum"])
TOGETHER: dict[ArgumentMeaning, tuple[tuple[frozenset[str], ArgumentMeaning], ...]] = {
    ArgumentMeaning.GPU: ((frozenset({"use"}), ArgumentMeaning.GPU),),
    ArgumentMeaning.SWITCH: (
        (frozenset({"gpu", "cuda"}), ArgumentMeaning.GPU),
        (frozenset({"bi", "bidirectional"}), ArgumentMeaning.BIDIRECTIONAL),
    ),
    ArgumentMeaning.STEPS: (
        (MOST, ArgumentMeaning.LIMIT),
        (frozenset({"output", "out", "target", "tgt", "trg", "label"}), ArgumentMeaning.HORIZON),
    ),
    ArgumentMeaning.UNKNOWN: (
        (MOST, ArgumentMeaning.LIMIT),
        (frozenset({"attn", "att"}), ArgumentMeaning.ATTENTION),
    ),
    ArgumentMeaning.VOCABULARY: ((frozenset({"dim"}), ArgumentMeaning.EMBEDDING),),
    ArgumentMeaning.EMBEDDING: ((frozenset({"num", "number"}), ArgumentMeaning.VOCABULARY),),
}
"""Words that change the meaning of another word in the name."""
KINDS = frozenset(
    {"model", "type", "method", "mode", "fn", "func", "function", "mechanism", "kind"}
)
KINDS |= {"unit", "class", "name"}
ATTENTION = frozenset(["attn", "att", "attention", "align", "alignment", "score"])
CELL = frozenset([UNGATED.name, "cell", "recurrent"])
GLUED = re.compile(
    r"(n|num|no)(?=(layers?|hidden|hid|inputs?|tokens?|heads?|class|classes|feats?|feature|features"
    r"|out|outputs?|in|words|units|steps|mels)$)"
)
KNOWN = {name: meaning for meaning, names in WHOLE.items() for name in names.split()}


def find_meaning(name: str) -> ArgumentMeaning:
    """Return the meaning of an argument's name."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_")
    for each in (name, snake):
        if each in KNOWN:
            return KNOWN[each]
    if BATCH.fullmatch(snake):
        return ArgumentMeaning.BATCH
    words = [GLUED.sub(r"\1_", re.sub(r"(?<=[a-z])\d$", "", word)) for word in snake.split("_")]
    return _find_by_words(frozenset("_".join(words).split("_")))


def _find_by_words(words: frozenset[str]) -> ArgumentMeaning:
    if words & KINDS and words & ATTENTION:
        return ArgumentMeaning.ATTENTION
    if words & KINDS and words & CELL:
        return ArgumentMeaning.KIND
    found = next(
        (meaning for meaning, each in PARTS if words & set(each.split())), ArgumentMeaning.UNKNOWN
    )
    for together, meaning in TOGETHER.get(found, ()):
        if words & together:
            return meaning
    return found
