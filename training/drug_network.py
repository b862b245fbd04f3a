"""The drug-response network: a response surface whose parameters a small network sets for this patient and this history.

index = awake / (1 + load ** steepness) + offset, with load = propofol / c50p + remifentanil / c50r. The concentrations are convex mixtures
of effect sites and the parameters depend on the context only, so for a given context the index never rises with either drug: by
construction, not by training. The offset is bounded.
"""

import torch
from torch import Tensor, nn

from training.drug_history import PROPOFOL_SITES, REMIFENTANIL_SITES

HIDDEN = 96
PARAMETERS = 6  # c50p, c50r, steepness, awake, offset, spread
C50_PROPOFOL, C50_REMIFENTANIL, STEEPNESS = 3.3, 15.0, 1.5  # ug/mL, ng/mL: where fitting starts
AWAKE, AWAKE_SPAN = 96.0, 3.0  # no patient is above 99
OFFSET = 10.0  # index points: the most that is laid on the surface
LEAST_LOAD = 1e-4  # the surface is flat below; keeps the logarithm finite
LEAST_SPREAD, SPREAD = 2.0, 8.0  # index points


class DrugResponse(nn.Module):
    """Index and spread of its error from effect sites and context, one row each; the leading `columns` of the context are used."""

    centre: Tensor
    unit: Tensor

    def __init__(self, centre: Tensor, unit: Tensor, dropout: float = 0.2) -> None:
        """Make a network; `centre` and `unit` [columns] normalise the context it is given."""
        super().__init__()
        # TorchScript sees no module constants, only attributes.
        self.columns, self.offset, self.least_load = int(centre.numel()), OFFSET, LEAST_LOAD
        self.awake, self.awake_span, self.least_spread, self.spread = AWAKE, AWAKE_SPAN, LEAST_SPREAD, SPREAD
        self.register_buffer("centre", centre)
        self.register_buffer("unit", unit)
        self.of_propofol = nn.Parameter(torch.zeros(PROPOFOL_SITES))
        self.of_remifentanil = nn.Parameter(torch.zeros(REMIFENTANIL_SITES))
        self.usual = nn.Parameter(torch.tensor([C50_PROPOFOL, C50_REMIFENTANIL, STEEPNESS]).log())
        self.body = nn.Sequential(
            nn.Linear(self.columns, HIDDEN), nn.SiLU(), nn.Dropout(dropout), nn.Linear(HIDDEN, HIDDEN // 2), nn.SiLU(), nn.Dropout(dropout)
        )
        self.leave = nn.Linear(HIDDEN // 2, PARAMETERS)
        with torch.no_grad():
            self.leave.weight.mul_(0.3)
            self.leave.bias.zero_()

    def forward(self, propofol: Tensor, remifentanil: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return index [B] and spread [B] from effect sites [B, 7] ug/mL and [B, 5] ng/mL and context [B, c]."""
        scaled = ((context[:, : self.columns] - self.centre) / self.unit).clamp(-5.0, 5.0)
        raw = self.leave(self.body(scaled))
        # Each within a factor e of its usual value.
        c50 = (self.usual + torch.tanh(raw[:, 0:3])).exp()
        load = torch.matmul(propofol, torch.softmax(self.of_propofol, 0)) / c50[:, 0]
        load = load + torch.matmul(remifentanil, torch.softmax(self.of_remifentanil, 0)) / c50[:, 1]
        asleep = torch.sigmoid(-c50[:, 2] * (load + self.least_load).log())
        surface = (self.awake + self.awake_span * torch.tanh(raw[:, 3])) * asleep
        index = (surface + self.offset * torch.tanh(raw[:, 4])).clamp(0.0, 100.0)
        return index, self.least_spread + self.spread * nn.functional.softplus(raw[:, 5])


class Ensemble(nn.Module):
    """The mean of several networks: as monotone as each of them."""

    def __init__(self, members: tuple[DrugResponse, ...]) -> None:
        """Join members."""
        super().__init__()
        self.members = nn.ModuleList(members)
        self.count = float(len(members))

    def forward(self, propofol: Tensor, remifentanil: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return index and spread [B], as a member does."""
        index = torch.zeros(context.size(0), dtype=context.dtype, device=context.device)
        spread = torch.zeros_like(index)
        for member in self.members:
            of_member = member(propofol, remifentanil, context)
            index = index + of_member[0] / self.count
            spread = spread + of_member[1] / self.count
        return index, spread
