"""RNN2: learn the number that follows each of three numbers, predicting at every time step."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import nn

from rnnspec.models import RNN2

INPUTS = [[1, 2, 3], [2, 3, 4]]
TARGETS = [[[4.0], [5.0], [6.0]], [[5.0], [6.0], [7.0]]]
TEST = [[3, 4, 5]]


def train(seed: int, epochs: int = 100, *, quiet: bool = True) -> tuple[float, list[float]]:
    """Train a model from this seed; return the last loss and the predictions for the test row."""
    torch.manual_seed(seed)
    model = RNN2(vocab_size=10, embedding_dim=4, hidden_size=10, output_size=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    inputs, targets = torch.tensor(INPUTS), torch.tensor(TARGETS)
    loss = torch.tensor(0.0)
    for epoch in range(1, epochs + 1):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        if epoch % 10 == 0 and not quiet:
            print(f"epoch {epoch:3}   loss {loss.item():.4f}")
    with torch.no_grad():
        return loss.item(), model(torch.tensor(TEST)).flatten().tolist()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train once, and print the loss during training and the predictions for the test row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the initial weights (default: 0)"
    )
    loss, predictions = train(parser.parse_args(arguments).seed, quiet=False)
    print(f"final loss {loss:.4f}")
    print(f"predictions for {TEST[0]}: {', '.join(f'{value:.4f}' for value in predictions)}")


if __name__ == "__main__":
    main()
