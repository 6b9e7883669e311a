"""Max-cut as a QUBO: split the nodes of a graph in two so that as many edges as possible run between the halves.

An edge (i, j) is cut when x_i + x_j - 2 x_i x_j = 1, so minimising the sum of 2 x_i x_j - x_i - x_j over the edges
maximises the cut, and the best value is minus the number of cut edges.
"""

from collections import Counter

from qfast import Client

NODES = 12
EDGES = [(i, (i + 1) % NODES) for i in range(NODES)] + [(i, i + 6) for i in range(6)]

qubo: Counter[tuple[int, int]] = Counter()
for i, j in EDGES:
    qubo[i, j] += 2
    qubo[i, i] -= 1
    qubo[j, j] -= 1

with Client() as client:
    (row,) = client.run(qubo)

best = row["results"][0]
left = [node for node, side in enumerate(best["solutionVector"]) if side == 0]
right = [node for node, side in enumerate(best["solutionVector"]) if side == 1]
print(f"{-best['quboValue']:.0f} of {len(EDGES)} edges are cut between {left} and {right}")
