"""A tagger, one answer a token: is an id the start of a rise, part of one, or outside?

    python token_tagger.py
    pe-deploy export token_tagger.py:Tagger weights.pt -o models/tagger \
        --max-length 16 --pad-id 0 --task tokens --labels O,B-RISE,I-RISE
"""

import torch
from torch import nn

PAD = 0


class Tagger(nn.Module):
    def __init__(self, vocab_size=21, embedding_dim=24, hidden_dim=32, tags=3):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=PAD)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, bidirectional=True, batch_first=True)
        self.classifier = nn.Linear(2 * hidden_dim, tags)

    def forward(self, input_ids):
        lengths = (input_ids != PAD).sum(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(input_ids), lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = self.lstm(packed)
        states, _ = nn.utils.rnn.pad_packed_sequence(
            states, batch_first=True, total_length=input_ids.shape[1]
        )
        return self.classifier(states)


def rows(count):
    """Rows of 1 to 16 ids from 1 to 20, and the tag of each id; -100 for the padding."""
    lengths = torch.randint(1, 17, (count,))
    ids = torch.randint(1, 21, (count, 16))
    ids[torch.arange(16) >= lengths[:, None]] = PAD
    ends = torch.zeros(count, 1, dtype=torch.long)
    rises_next = torch.cat([ids[:, 1:], ends], 1) > ids
    rose = torch.cat([ends, ids[:, :-1]], 1) < ids
    rose[:, 0] = False
    tags = torch.where(rose, 2, torch.where(rises_next, 1, 0))
    return ids, tags.masked_fill(ids == PAD, -100)


def main(steps=250):
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the steps are small
    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        input_ids, tags = rows(64)
        loss = nn.functional.cross_entropy(model(input_ids).transpose(1, 2), tags)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    input_ids, tags = rows(1000)
    right = (model(input_ids).argmax(2) == tags)[tags != -100].float().mean()
    print(f"{right:.1%} of the tags of 1000 new rows are right")
    torch.save(model.state_dict(), "weights.pt")


if __name__ == "__main__":
    main()
