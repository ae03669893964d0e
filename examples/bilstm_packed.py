"""A bidirectional LSTM over packed sequences: do the first and the last id of a row agree?

    python bilstm_packed.py
    pe-deploy export bilstm_packed.py:BiLSTM weights.pt -o models/bilstm \
        --max-length 20 --pad-id 0 --labels differ,agree
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

PAD = 0


class BiLSTM(nn.Module):
    def __init__(self, vocab_size=12, embedding_dim=16, hidden_dim=24, num_layers=1):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=PAD)
        self.lstm = nn.LSTM(
            embedding_dim, hidden_dim, num_layers, bidirectional=True, batch_first=True
        )
        self.classifier = nn.Linear(2 * hidden_dim, 1)

    def forward(self, input_ids, lengths):
        packed = pack_padded_sequence(
            self.embedding(input_ids), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        _, (hidden, _) = self.lstm(packed)
        return self.classifier(torch.cat([hidden[-2], hidden[-1]], dim=1))


def rows(count):
    """Rows of 2 to 20 ids from 1 to 11, every other with its first id repeated at its end."""
    lengths = torch.randint(2, 21, (count,))
    ids = torch.randint(1, 12, (count, 20))
    ids[::2].scatter_(1, lengths[::2, None] - 1, ids[::2, :1])
    first, last = ids[:, 0], ids.gather(1, lengths[:, None] - 1)[:, 0]
    ids[torch.arange(20) >= lengths[:, None]] = PAD
    return ids, lengths, (first == last).float()


def main(steps=400):
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the steps are small
    model = BiLSTM()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        input_ids, lengths, answers = rows(64)
        logits = model(input_ids, lengths)[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    input_ids, lengths, answers = rows(1000)
    right = ((model(input_ids, lengths)[:, 0] > 0) == answers.bool()).float().mean()
    print(f"{right:.1%} of 1000 new rows are right")
    torch.save(model.state_dict(), "weights.pt")


if __name__ == "__main__":
    main()
