"""The REST interface that IBM's client speaks, on top of the verbs: its jobs are jobs like any other.

`facade` knows HTTP, `jobs`, `sessions`, `backends` and `account` what each path means, `programs` and `options` what can be
submitted, `results` and `encoding` how its answers look. Circuits come as QPY and are read in a worker process only
(``qiskit_qfast.runtime_programs``); nothing here imports Qiskit.
"""
