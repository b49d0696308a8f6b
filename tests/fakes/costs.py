"""The cost assumptions that `scale=paper` plans with."""

from reer.search.cost import CostAssumptions

ASSUMED = CostAssumptions(250, 2000, 2200, 12, 8, 500, 1150, 640, 5500, 1300, 16000, 2.5, 6000, 270, 2500, 250, 5)
