"""Audits, one file per audit. Reached by name through `guardrail.vocabulary.plugins`, never imported directly."""

if __name__ == "audits":
    raise ImportError("import guardrail.audits, not audits: the folder is a part of the package guardrail")

from guardrail.vocabulary.plugins import Entry

CONTENT = ("image", "text", "music", "series")
EVERY = ("tabular", *CONTENT)

TABLE: dict[str, Entry] = {
    "marginals": Entry(".quality.marginals:Marginals", "one column at a time against train"),
    "pairs": Entry(".quality.pairs:Pairs", "two columns at a time against train"),
    "validity": Entry(".quality.validity:Validity", "records that obey the schema", modalities=EVERY),
    "detection": Entry(".quality.detection:Detection", "a classifier that tells synthetic from real"),
    "utility": Entry(".quality.utility:Utility", "train on synthetic, test on real"),
    "likelihood": Entry(".quality.likelihood:Likelihood", "how well the model predicts held-out records", modalities=EVERY),
    "adherence": Entry(".quality.adherence:Adherence", "samples asked for a class look like that class", modalities=CONTENT),
    "parity": Entry(".fairness.parity:Parity", "group fairness of the downstream model"),
    "clients": Entry(".fairness.clients:Clients", "which client of a federation is served badly"),
    "representation": Entry(".bias.representation:Representation", "who is missing from the synthetic data"),
    "accounting": Entry(".privacy.accounting:Accounting", "the epsilon and delta of the receipt", modalities=EVERY),
    "claim": Entry(".privacy.claim:Claim", "an attack on the training's canaries, beside the claimed epsilon", modalities=EVERY),
    "copies": Entry(".privacy.copies:Copies", "training rows that reappear cell by cell"),
    "nearest": Entry(".privacy.nearest:Nearest", "closer to training rows than to unseen rows?"),
    "membership": Entry(".privacy.membership:Membership", "membership inference attacks"),
    "inversion": Entry(".privacy.gradient_inversion:GradientInversion", "records drawn back from a client's update", modalities=("image",)),
    "stability": Entry(".training.stability:Stability", "a training without swings, explosions, fading", modalities=EVERY),
    "collapse": Entry(".training.collapse:Collapse", "kinds of records that the samples miss", modalities=EVERY),
    "duality": Entry(".training.duality:Duality", "how far an adversarial game is from equilibrium", modalities=EVERY),
    "manifests": Entry(".provenance.manifests:Manifests", "signed manifests of the sample files", modalities=EVERY),
}
