"""What is said beside the studies' figures: how each is read, and what the paper saw, with its place there.

What was seen here stands in the figures. Nothing here says that a small study agrees with the paper.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Text:
    """A heading, what was done, and what the paper says of it."""

    title: str
    done: str
    paper: str


TEXTS = {
    "paper/transfer": Text(
        title="Pre-training and transfer",
        done="Each model is pre-trained on some classes at a low resolution, gets a head of zeros and larger images, its "
        "positions resized, and is fine-tuned on the other classes; beside it the same model is trained on those from scratch.",
        paper="The paper pre-trains at 224 pixels and fine-tunes at 384 or 512 with a zero-initialised head (section 3.2), and "
        "transfers from 1.3 to 300 million images.",
    ),
    "paper/data_scaling": Text(
        title="How much data each architecture needs",
        done="Vision Transformers and ResNets of several sizes are trained on random parts of one data set, of growing size, "
        "and judged on the same unseen images.",
        paper="In the paper, ResNets do better on small data sets and Vision Transformers overtake them on large ones "
        "(section 4.3, Figures 3 and 4, at 1.3 to 300 million images).",
    ),
    "paper/inductive_bias": Text(
        title="What is built in",
        done="Two small models, a Vision Transformer of each implementation and a ResNet, are asked at the start and after a "
        "short training how their layers move with the image, and from how far they hear.",
        paper="“In ViT, only MLP layers are local and translationally equivariant, while the self-attention layers are "
        "global”; of CNNs, it says, locality, neighbourhood and equivariance “are baked into each layer” (section 3.1).",
    ),
    "paper/inner_views": Text(
        title="Inside a trained model",
        done="A small model of each implementation is trained from the same weights on the same images, and looked into as the "
        "paper looks into its own.",
        paper="The paper looks into ViT-L after pre-training on millions of images (section 4.5, Figures 6 and 7, appendices D.4, "
        "D.7 and D.8).",
    ),
}

READING = {
    "Linear few-shot accuracy (Experiment 2)": "A regression on what the frozen model makes of a few images a class, by the images "
    "that it was pre-trained on. The paper (Figure 4): “ResNets perform better with smaller pre-training datasets but plateau "
    "sooner than ViT”.",
    "Accuracy after fine-tuning (Experiment 1)": "By the images of pre-training. The paper (Figure 3): large ViTs “perform worse "
    "than BiT ResNets” after pre-training on small data sets, and “shine when pre-trained on larger datasets”.",
    "Accuracy on the classes of pre-training": "On unseen images of the classes that were pre-trained on, before anything is "
    "transferred.",
    "Loss while fine-tuning": "Of batches, means over stretches of steps: the pre-trained model under its new head, and the same "
    "model from its first weights.",
    "Loss while pre-training": "Of batches, means over stretches of steps.",
    "equivariance error by shift": "0: the layer's output moves exactly as the image does; 1: the two have nothing in common but "
    "their mean; above 1: less than that, as where one is high when the other is low. Between "
    "two cells the expected output is interpolated.",
    "equivariance error by depth, whole patches": "The image is moved by two patches, a whole number of cells of every layer. "
    "Positions tell a ViT where a patch is, zeros around the map tell a CNN where the edge is; without them both move with the "
    "image. Layer 0 is what the blocks begin with.",
    "equivariance error by depth, one pixel": "Moved by less than a cell, neither architecture can answer with a mere move.",
    "how far one patch is heard after one block": "The corner's patch is negated. A block of attention hears it everywhere at once; "
    "one of convolutions near it, and elsewhere only through its group normalisation, which takes the mean over all places.",
    "receptive field by depth": "From how far the middle cell of each layer hears, by the gradient's size at every pixel "
    "(Luo et al., 2016). One block of attention can hear the whole image; convolutions hear further with every layer.",
    "similarity of positions by distance": "The paper: “closer patches tend to have more similar position embeddings”.",
    "training loss": "Means over stretches of steps, of batches as they came.",
    "attention distance": "Each mark is one head: pixels from query to key, weighted by attention, the mean over 128 images as in "
    "appendix D.7. The paper: in the lowest layers some heads attend to most of the image and others stay near; the distance "
    "“increases with network depth”.",
    "filters of the patch embedding": "The first principal components of the filters, each in the full range of colours. The "
    "paper's (Figure 7, left) “resemble plausible basis functions for a low-dimensional representation of the fine structure "
    "within each patch”; of so short a training, components beyond the first few may be what is left of the random start.",
    "similarity of position embeddings": "A tile for each patch where it lies, in it the cosine similarity of its position with "
    "every patch's. The paper (Figure 7, centre) saw nearer patches more alike, and patches of one row or column.",
    "attention rollout": "Attention of all blocks multiplied together, with the residual path counted as much (Abnar and "
    "Zuidema, 2020), from the class token to the patches; the most is full light. The paper (Figure 6): “the model attends to "
    "image regions that are semantically relevant for classification”.",
    "effective receptive field": "One tile a layer: how strongly the middle cell's features follow each pixel, the square root of it.",
}
