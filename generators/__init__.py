"""Generators, one file per family. Reached by name through `guardrail.vocabulary.plugins`, never imported directly."""

if __name__ == "generators":
    raise ImportError("import guardrail.generators, not generators: the folder is a part of the package guardrail")

from guardrail.vocabulary.plugins import Entry

TABLE: dict[str, Entry] = {
    "made": Entry(
        ".made:Made",
        "masked autoregressive network over discretised columns",
        abilities=("sample", "log_likelihood", "private"),
        paper="https://arxiv.org/abs/1502.03509",
        extra="train",
    ),
    "hmm": Entry(
        ".hmm:Hmm",
        "hidden states that follow one another and emit tokens, or numbers with a mean and a variance",
        modalities=("text", "music", "series"),
        abilities=("sample", "prompt", "impute", "log_likelihood", "score", "explain"),
        paper="https://doi.org/10.1109/5.18626",
        extra="train",
    ),
    "markov": Entry(
        ".markov:Markov",
        "every token given the few before it, smoothed: the floor of texts, music and series",
        modalities=("tabular", "image", "text", "music", "series"),
        abilities=("sample", "prompt", "log_likelihood", "score"),
        paper="https://doi.org/10.1002/j.1538-7305.1948.tb01338.x",
        extra="train",
    ),
    "marginals": Entry(
        ".marginals:Marginals",
        "every column by itself: the floor beside every model",
        abilities=("sample", "log_likelihood", "private"),
        paper="https://doi.org/10.29012/jpc.778",
        extra="train",
    ),
    "vae": Entry(
        ".vae:Vae",
        "variational autoencoder with one likelihood per column",
        abilities=("sample", "private"),
        paper="https://arxiv.org/abs/1312.6114",
        extra="train",
    ),
    "cgan": Entry(
        ".cgan:Cgan",
        "conditional GAN: makes records of the class that is asked for",
        modalities=("image", "series"),
        abilities=("sample", "where", "interpolate"),
        paper="https://arxiv.org/abs/1411.1784",
        extra="train",
    ),
    "dcgan": Entry(
        ".dcgan:Dcgan",
        "deep convolutional GAN for images of any size",
        modalities=("image",),
        abilities=("sample", "where", "interpolate"),
        paper="https://arxiv.org/abs/1511.06434",
        extra="train",
    ),
    "gan": Entry(
        ".gan:Gan",
        "generative adversarial network, fully connected; the original",
        modalities=("tabular", "image", "series"),
        abilities=("sample", "interpolate"),
        paper="https://arxiv.org/abs/1406.2661",
        extra="train",
    ),
    "progan": Entry(
        ".progan:Progan",
        "progressively growing GAN: from 4x4 pixels to the whole image",
        modalities=("image",),
        abilities=("sample", "where", "interpolate"),
        paper="https://arxiv.org/abs/1710.10196",
        extra="train",
    ),
    "wgan": Entry(
        ".wgan:Wgan",
        "Wasserstein GAN with a bounded slope (gradient penalty, clipping or spectral norm)",
        modalities=("tabular", "image", "series"),
        abilities=("sample", "where", "interpolate"),
        paper="https://arxiv.org/abs/1704.00028",
        extra="train",
    ),
    "cyclegan": Entry(
        ".cyclegan:Cyclegan",
        "translates images between two styles, learned without pairs",
        modalities=("image",),
        abilities=("translate",),
        paper="https://arxiv.org/abs/1703.10593",
        extra="train",
    ),
    "diffusion": Entry(
        ".diffusion:Diffusion",
        "takes noise out step by step; fills in what is missing",
        modalities=("tabular", "image"),
        abilities=("sample", "where", "impute"),
        paper="https://arxiv.org/abs/2006.11239",
        extra="train",
    ),
}
