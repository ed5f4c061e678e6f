"""What a model takes: token ids or features, stated by the caller or inferred from the model's modules."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from rnnspec.models.layers import is_recurrent_layer


class CannotInfer(ValueError):
    """Nothing in the model says what it takes, or what the caller says contradicts itself."""


@dataclass(frozen=True)
class Interface:
    """What a model takes: token ids below `vocabulary`, or features of width `features`; exactly one of the two is set.

    Tokens have shape (N, L), features (N, L, features), both with the first two axes exchanged unless `batch_first`. `padding` is the id
    that the model declares as padding, if any. `inferred` says in words where each value that the caller did not give came from.
    """

    vocabulary: int | None = None
    features: int | None = None
    batch_first: bool = True
    padding: int | None = None
    inferred: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.vocabulary is None) == (self.features is None):
            raise CannotInfer(
                f"give either vocabulary or features, got vocabulary={self.vocabulary!r}, features={self.features!r}"
            )
        for name in ("vocabulary", "features"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise CannotInfer(f"{name} must be at least 1, got {value!r}")

    @property
    def takes_tokens(self) -> bool:
        """Whether the input is token ids."""
        return self.vocabulary is not None


def infer_interface(
    model: object,
    *,
    vocabulary: int | None = None,
    features: int | None = None,
    batch_first: bool = True,
    padding: int | None = None,
) -> Interface:
    """The model's interface: what the caller states, else the first nn.Embedding's vocabulary, else the first recurrent layer's input_size.

    The padding id is the embedding's padding_idx unless stated. Raises CannotInfer where neither is found or both are stated.
    """
    said: list[str] = []
    if vocabulary is None and features is None:
        vocabulary, features = _sizes(model, said)
    if vocabulary is not None and padding is None:
        padding = _padding(model, said)
    return Interface(vocabulary, features, batch_first, padding, tuple(said))


def _sizes(model: object, said: list[str]) -> tuple[int | None, int | None]:
    for name, embedding in _named(model):
        if isinstance(embedding, nn.Embedding):
            said.append(f"vocabulary={embedding.num_embeddings}, from {name} ({_title(embedding)})")
            return embedding.num_embeddings, None
    before: list[tuple[str, nn.Linear]] = []
    for name, layer in _named(model):
        if isinstance(layer, nn.Linear):
            before.append((name, layer))
        if is_recurrent_layer(layer):
            return None, _width(name, layer, before, said)
    raise CannotInfer(
        f"{type(model).__name__} has neither an nn.Embedding nor a recurrent layer: state vocabulary= (token ids) or features= (width)"
    )


def _width(
    name: str, layer: nn.Module, before: list[tuple[str, nn.Linear]], said: list[str]
) -> int:
    """The width of the features: the layer's input_size, or what a linear layer that was registered before it and fits it takes."""
    width = int(getattr(layer, "input_size", 0))
    if before and before[-1][1].out_features == width:
        name, layer = before[0]
        width = before[0][1].in_features
    said.append(f"features={width}, from {name} ({_title(layer)})")
    return width


def _padding(model: object, said: list[str]) -> int | None:
    for name, embedding in _named(model):
        if isinstance(embedding, nn.Embedding):
            if embedding.padding_idx is not None:
                said.append(f"padding id {embedding.padding_idx}, from {name}.padding_idx")
            return embedding.padding_idx
    return None


def _named(model: object) -> list[tuple[str, nn.Module]]:
    if not isinstance(model, nn.Module):
        return []
    return [(name or "the model itself", module) for name, module in model.named_modules()]


def _title(module: nn.Module) -> str:
    return f"{type(module).__name__}({module.extra_repr()})"
