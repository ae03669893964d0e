"""A Transformer encoder with a mask, in the manner of Hugging Face: which third of the ids is
the most frequent in a row?

    python transformer_mask.py
    pe-deploy export transformer_mask.py:Encoder weights.pt -o models/encoder --pad-id 0
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

PAD = 0


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None


class Encoder(nn.Module):
    def __init__(self, vocab_size=31, width=32, heads=4, layers=2, max_length=24, num_labels=3):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, width, padding_idx=PAD)
        self.positions = nn.Embedding(max_length, width)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.classifier = nn.Linear(width, num_labels)

    def forward(self, input_ids, attention_mask=None, labels=None):
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = self.tokens(input_ids) + self.positions(places)
        hidden = self.encoder(hidden, src_key_padding_mask=attention_mask == 0)
        weights = attention_mask[:, :, None].to(hidden.dtype)
        logits = self.classifier((hidden * weights).sum(1) / weights.sum(1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return Output(logits, loss)


def rows(count):
    """Rows of 3 to 24 ids from 1 to 30."""
    lengths = torch.randint(3, 25, (count,))
    ids = torch.randint(1, 31, (count, 24))
    mask = (torch.arange(24) < lengths[:, None]).long()
    thirds = nn.functional.one_hot((ids - 1) // 10, 3) * mask[:, :, None]
    return ids * mask, mask, thirds.sum(1).argmax(1)


def main(steps=250):
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the steps are small
    model = Encoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(steps):
        input_ids, mask, labels = rows(64)
        optimizer.zero_grad()
        model(input_ids, mask, labels).loss.backward()
        optimizer.step()
    model.eval()
    input_ids, mask, labels = rows(1000)
    right = (model(input_ids, mask).logits.argmax(1) == labels).float().mean()
    print(f"{right:.1%} of 1000 new rows are right")
    torch.save({"epoch": 1, "model_state_dict": model.state_dict()}, "weights.pt")


if __name__ == "__main__":
    main()
