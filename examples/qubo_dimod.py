"""Max-cut with dimod: a spin on each node, +1 on each edge, so that every edge between opposite spins earns -1.

The energy is (edges not cut) - (edges cut). Without arguments it solves in this process; give a URL to ask a server.
"""

import sys

import dimod

from qfast.dimod import QfastSampler

NODES = 12
EDGES = [(f"n{i}", f"n{(i + 1) % NODES}") for i in range(NODES)] + [(f"n{i}", f"n{i + 6}") for i in range(6)]

model = dimod.BinaryQuadraticModel({}, dict.fromkeys(EDGES, 1), 0, "SPIN")
sampler = QfastSampler(sys.argv[1] if len(sys.argv) > 1 else "in-process")
found = sampler.sample(model, seed=7)

best = found.first
cut = sum(best.sample[a] != best.sample[b] for a, b in EDGES)
print(f"{cut} of {len(EDGES)} edges are cut, energy {best.energy:g}, proven: {found.info['proven_optimal']}")
