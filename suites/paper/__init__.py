"""The paper's experiments and its looks inside the model, in miniature: a group of suites, ``--suite paper`` for all."""
