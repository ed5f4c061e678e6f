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
class Sizes:
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
    Sizes(layers=1),
    Sizes(directions=1),
    Sizes(embedding=8, features=8),
    Sizes(layers=1, directions=1),
    Sizes(embedding=8, features=8, layers=1, directions=1),
    Sizes(embedding=16, hidden=16, features=16, outputs=16, layers=1, directions=1),
    Sizes(outputs=1),
)
"""Further sizes, for models that need equal sizes, or a single layer or direction."""


class Meaning(Enum):
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


WHOLE: dict[Meaning, str] = {
    Meaning.CONFIG: (
        "config configs cfg conf args arg opt opts option options hparam hparams hp hps params "
        "param parameters setting settings flags kwargs arguments configuration hyperparams"
    ),
    Meaning.WORDS: "words tokens chars characters alphabet letters symbols vocab lexicon charset",
    Meaning.CLASSES: "tags labels classes slots intents categories tagset",
    Meaning.MODULE: "encoder decoder attention enc dec cnn fc head backbone embedder generator",
    Meaning.DROPOUT: "p dp do",
    Meaning.STEPS: "T P",
    Meaning.CHANNELS: "nc channels in_channels input_channels num_channels n_channels",
    Meaning.KIND: "rnn lstm gru cell unit mode model arch",
    Meaning.ATTENTION: "method attn align",
    Meaning.MATRIX: "weights weight vectors pretrained",
    Meaning.LAYERS: "layer_dim nlayers layers depth",
}
"""Names whose meaning as a whole differs from the meaning of their words."""

PARTS: tuple[tuple[Meaning, str], ...] = (
    (Meaning.SWITCH, "is use with has tie tied tying freeze share shared"),
    (Meaning.GPU, "gpu gpus cuda"),
    (Meaning.DEVICE, "device"),
    (Meaning.BIDIRECTIONAL, "bi bid bidir bidirectional bidirection birnn bilstm bigru"),
    (Meaning.DIRECTIONS, "directions"),
    (Meaning.DROPOUT, "drop dropout dropouts dropprob keep zoneout"),
    (Meaning.CONFIG, "config cfg conf hparams options settings"),
    (
        Meaning.MATRIX,
        "matrix mat weight weights vector vectors vecs pretrained glove word2vec wv",
    ),
    (
        Meaning.SWITCH,
        "do return enable apply learn finetune fine train training update bias residual norm "
        "batchnorm layernorm bn verbose debug first flag sorted variable",
    ),
    (Meaning.ID, "pad padding sos bos go start begin eos end stop unk unknown mask blank"),
    (
        Meaning.RATE,
        "lr rate ratio prob probability momentum decay eps epsilon alpha beta gamma temperature "
        "temp clip coef std tau slope forcing",
    ),
    (Meaning.SHAPE, "shape"),
    (Meaning.KIND, "type kind mode name arch"),
    (Meaning.LAYERS, "layers stacks blocks rnns recs lstms grus lyrs"),
    (Meaning.HEADS, "heads head nhead"),
    (Meaning.KERNEL, "kernel ksize"),
    (
        Meaning.FACTOR,
        "stride dilation groups pool pooling factor maxout hops expansion",
    ),
    (Meaning.MIXTURES, "gaussians gaussian mixtures mixture mixes components kmix"),
    (Meaning.FILTERS, "filter filters kernels conv cnn"),
    (Meaning.HEIGHT, "height img image"),
    (Meaning.ACTIVATION, "activation activ act nonlinearity fun func function fn"),
    (
        Meaning.MAPPING,
        "word2idx word2id word2ix word2index char2idx tag2idx tag2id label2idx label2id stoi "
        "intent2idx slot2idx token2idx w2i to dictionary mapping",
    ),
    (Meaning.HORIZON, "horizon future ahead pred prediction forecast lookahead"),
    (Meaning.VOCABULARY, "vocab vocabs vocabulary voc vsz dict charset lexicon lang"),
    (Meaning.EMBEDDING, "emb embs embed embeds embedd embedding embeddings wordvec ninp emsize"),
    (
        Meaning.STEPS,
        "seq sequence sent len length lengths steps step timesteps timestep time window lookback "
        "past history frames bptt",
    ),
    (
        Meaning.HIDDEN,
        "hidden hiddens hid nhid nh h units neurons cells latent latents z enc dec encoder "
        "decoder attention attn att key value query proj projection fc dense linear mlp ffn "
        "context memory bottleneck rnn lstm gru cell unit model",
    ),
    (
        Meaning.OUTPUTS,
        "output outputs out target targets label labels class classes tag tags tagset action "
        "actions category categories intent intents slot slots keywords speakers emotions "
        "phonemes polarities ner nclass nclasses nout aux",
    ),
    (
        Meaning.VOCABULARY,
        "tokens token ntoken ntokens words word nwords chars char characters symbols items item "
        "users user skills skill questions question q concepts alphabet v",
    ),
    (
        Meaning.FEATURES,
        "feature features feat feats nfeat input inputs in inp nin idim sensor sensors mel mels "
        "nmels mfcc mfccs freq freqs bins state states obs observation variable variables var "
        "vars series x cov channel audio visual data",
    ),
    (Meaning.LAYERS, "layer"),
    (Meaning.HIDDEN, "d dim dims size width da u"),
    (Meaning.LOSS, "loss criterion optimizer optim scheduler logger writer"),
    (Meaning.TEXT, "path file dir folder checkpoint prefix title version"),
    (Meaning.MODULE, "module net network classifier base"),
)
"""Words in names, in the order of the search."""

MOST = frozenset(["max", "maxlen", "maximum"])
TOGETHER: dict[Meaning, tuple[tuple[frozenset[str], Meaning], ...]] = {
    Meaning.GPU: ((frozenset({"use"}), Meaning.GPU),),
    Meaning.SWITCH: (
        (frozenset({"gpu", "cuda"}), Meaning.GPU),
        (frozenset({"bi", "bidirectional"}), Meaning.BIDIRECTIONAL),
    ),
    Meaning.STEPS: (
        (MOST, Meaning.LIMIT),
        (frozenset({"output", "out", "target", "tgt", "trg", "label"}), Meaning.HORIZON),
    ),
    Meaning.UNKNOWN: ((MOST, Meaning.LIMIT), (frozenset({"attn", "att"}), Meaning.ATTENTION)),
    Meaning.VOCABULARY: ((frozenset({"dim"}), Meaning.EMBEDDING),),
    Meaning.EMBEDDING: ((frozenset({"num", "number"}), Meaning.VOCABULARY),),
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


def find_meaning(name: str) -> Meaning:
    """Return the meaning of an argument's name."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_")
    for each in (name, snake):
        if each in KNOWN:
            return KNOWN[each]
    if BATCH.fullmatch(snake):
        return Meaning.BATCH
    words = [GLUED.sub(r"\1_", re.sub(r"(?<=[a-z])\d$", "", word)) for word in snake.split("_")]
    return _find_by_words(frozenset("_".join(words).split("_")))


def _find_by_words(words: frozenset[str]) -> Meaning:
    if words & KINDS and words & ATTENTION:
        return Meaning.ATTENTION
    if words & KINDS and words & CELL:
        return Meaning.KIND
    found = next((meaning for meaning, each in PARTS if words & set(each.split())), Meaning.UNKNOWN)
    for together, meaning in TOGETHER.get(found, ()):
        if words & together:
            return meaning
    return found
