"""A convolutional network without padding (Kim 2014): does a row hold one of two patterns?

The widest filter needs 5 ids, so a row has at least as many: that is found by trying.

    python textcnn.py
    pe-deploy export textcnn.py:TextCNN weights.pt -o models/textcnn --max-length 32 \
        --labels neither,first,second
"""

import torch
from torch import nn
from torch.nn import functional


class TextCNN(nn.Module):
    def __init__(self, vocab_size=8, embedding_dim=16, filters=24, widths=(3, 4, 5), classes=3):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(embedding_dim, filters, width) for width in widths
        )
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(filters * len(widths), classes)

    def forward(self, input_ids):
        embedded = self.embedding(input_ids).transpose(1, 2)
        found = [functional.relu(convolution(embedded)) for convolution in self.convolutions]
        pooled = [functional.max_pool1d(each, each.shape[2]).squeeze(2) for each in found]
        return self.classifier(self.dropout(torch.cat(pooled, dim=1)))


PATTERNS = torch.tensor([[1, 2, 3, 4], [4, 4, 1, 7]])


def rows(count, length):
    """Random rows, a third of them with the first pattern somewhere, a third with the second."""
    ids = torch.randint(0, 8, (count, length))
    answers = torch.randint(0, 3, (count,))
    for row, answer in enumerate(answers.tolist()):
        if answer:
            place = int(torch.randint(0, length - 3, ()))
            ids[row, place : place + 4] = PATTERNS[answer - 1]
    return ids, answers


def main(steps=300):
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the steps are small
    model = TextCNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(steps):
        input_ids, answers = rows(64, int(torch.randint(5, 33, ())))
        loss = functional.cross_entropy(model(input_ids), answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    input_ids, answers = rows(1000, 20)
    right = (model(input_ids).argmax(1) == answers).float().mean()
    print(f"{right:.1%} of 1000 new rows are right")
    torch.save(model.state_dict(), "weights.pt")


if __name__ == "__main__":
    main()
