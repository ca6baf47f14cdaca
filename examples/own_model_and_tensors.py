"""Your own two modules and your own tensors: an audit, and a page to look at.

Takes seconds and writes own-audit/:

    python examples/own_model_and_tensors.py
"""

import torch
from torch import nn

import understudy as us

torch.manual_seed(0)
x = torch.rand(1000, 16)
y = (x[:, :8].sum(1) > x[:, 8:].sum(1)).long()
teacher, student = (nn.Sequential(nn.Linear(16, w), nn.ReLU(), nn.Linear(w, 2)) for w in (64, 8))
us.train((x, y), teacher, epochs=10, lr=0.02)
us.distill(teacher, student, (x, y), method="fd", eps=0.05, valid_range=(0.0, 1.0), epochs=10, lr=0.02)
audit = us.audit(teacher, student, (x, y), eps=[0.02, 0.05], valid_range=(0.0, 1.0), out="own-audit")
for row in audit.summary:
    print(f"eps {row.eps}: the mean worst difference lies in {row.lower_mean:.3f} .. {row.upper_mean:.3f}")
