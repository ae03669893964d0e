"""A GRU with attention over its steps, any number of labels a row: which of four motifs occur?

    python multilabel_attention.py
    pe-deploy export multilabel_attention.py:Motifs weights.pt -o models/motifs \
        --max-length 18 --pad-id 0 --task multilabel --labels ab,bc,cd,da
"""

import torch
from torch import nn

PAD = 0


class Motifs(nn.Module):
    def __init__(self, vocab_size=9, embedding_dim=16, hidden_dim=32, labels=4):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=PAD)
        self.gru = nn.GRU(embedding_dim, hidden_dim, batch_first=True)
        self.attention = nn.Linear(hidden_dim, labels)
        self.classifier = nn.Parameter(torch.randn(labels, hidden_dim) / hidden_dim**0.5)
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(self, input_ids):
        states, _ = self.gru(self.embedding(input_ids))  # [batch, steps, hidden]
        scores = self.attention(torch.tanh(states))  # [batch, steps, labels]
        scores = scores.masked_fill((input_ids == PAD)[:, :, None], float("-inf"))
        summaries = scores.softmax(1).transpose(1, 2) @ states  # [batch, labels, hidden]
        return (summaries * self.classifier).sum(-1) + self.bias


PAIRS = torch.tensor([[1, 2], [2, 3], [3, 4], [4, 1]])


def rows(count):
    """Rows of 2 to 18 ids from 1 to 8, and 1 for each pair of neighbours that occurs."""
    lengths = torch.randint(2, 19, (count,))
    ids = torch.randint(1, 9, (count, 18))
    ids[torch.arange(18) >= lengths[:, None]] = PAD
    neighbours = torch.stack([ids[:, :-1], ids[:, 1:]], -1)  # [rows, 17, 2]
    return ids, (neighbours[:, :, None] == PAIRS).all(-1).any(1).float()


def main(steps=400):
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the steps are small
    model = Motifs()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        input_ids, answers = rows(64)
        loss = nn.functional.binary_cross_entropy_with_logits(model(input_ids), answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    input_ids, answers = rows(1000)
    right = ((model(input_ids) > 0) == answers.bool()).float().mean()
    print(f"{right:.1%} of the labels of 1000 new rows are right")
    torch.save(model.state_dict(), "weights.pt")


if __name__ == "__main__":
    main()
