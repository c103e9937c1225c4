"""The reference Vision Transformer: the paper as code, in float64, without speed tricks.

Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", ICLR 2021.
``vitbench.reference.vit`` is the model from Eq. 1 to Eq. 4, from top to bottom; ``config`` the choices it has,
``parameters`` the names and shapes of its weights, ``positions`` the resizing of position embeddings,
``variants`` the published sizes and ``cost`` their parameters and multiply-accumulates in closed form.
Nothing here imports torch before a model is asked for.
"""
