"""Which settings of `slstt-train` do not go together, each with the fix; `problems` lists them all."""

from slstt.config.train import (
    CLIP_NETWORKS,
    FLOW_MAP_NETWORKS,
    FLOW_MAP_PROTOCOLS,
    MOST_NUMBERS,
    UNIT_PROTOCOLS,
    Augment,
    ClassifierSettings,
    Encoder,
    Model,
    TrainConfig,
    roots,
)


def _classifier_problems(classifier: ClassifierSettings, model: Model, encoder: Encoder) -> list[str]:
    """What does not go together with the chosen classifier, each with the fix."""
    name, found = classifier.name, []
    if name == "pretrained" and model.pretrained is None:
        found.append("'classifier.name': pretrained needs model.pretrained: synthetic, or a model file")
    if classifier.start == "pretrained" and (name != "slstt" or model.pretrained is None):
        found.append("'classifier.start': pretrained needs classifier.name: slstt and model.pretrained; leave it out")
    if classifier.inner and name != "committee":
        found.append("'classifier.inner' is for classifier.name=committee alone; leave it out")
    if name in ("pretrained", "committee", *FLOW_MAP_NETWORKS, *CLIP_NETWORKS) and encoder.trainable != "all":
        found.append(f"'encoder.trainable': {encoder.trainable} means nothing to classifier.name={name}; leave it out")
    if name in ("committee", *FLOW_MAP_NETWORKS) and model.pretrained is not None:
        found.append(f"'model.pretrained': {name} has no SLSTT encoder to load it into; leave it out")
    weights = model.pretrained or ""
    for network, prefix in CLIP_NETWORKS.items():
        if name != network and weights.startswith(prefix):
            found.append(f"'model.pretrained': {weights} is for classifier.name={network}")
    if name in CLIP_NETWORKS and (weights == "imagenet" or weights.startswith("ViT_")):
        known = f"{CLIP_NETWORKS[name]}Weights.DEFAULT or a file"
        found.append(f"'model.pretrained': {weights} is for SLSTT; {name} takes {known}")
    if name.startswith("svm") and encoder.dropout:
        found.append("'encoder.dropout': an SVM learns from features computed once; leave it out")
    if name.startswith("svm") and encoder.trainable not in ("all", "none"):
        found.append("'encoder.trainable': an SVM trains no part of the encoder; write none, or leave it out")
    if name.startswith("svm") and encoder.trainable == "all" and model.pretrained is not None:
        found.append("'model.pretrained': for an SVM on its features add encoder.trainable: none")
    return found


def _unit_problems(settings: TrainConfig) -> list[str]:
    """What does not go together with action units, each with the fix."""
    data, training, found = settings.data, settings.training, []
    if (data.target == "units") != (data.protocol in UNIT_PROTOCOLS):
        if data.target == "emotion":
            return [f"'data.protocol': {data.protocol} is for action units; add data.target: units"]
        return [f"'data.protocol': {data.protocol} has classes; for data.target: units use {', '.join(UNIT_PROTOCOLS)}"]
    if data.target == "emotion":
        return []
    if data.kind == "flow_maps":
        found.append("'data.target': flow maps have no action units; use data.kind: cache")
    if settings.classifier.name != "slstt" or settings.classifier.start == "pretrained":
        found.append("'classifier': units are learned by classifier.name: slstt with classifier.start: random")
    if training.balance == "sampling":
        found.append(
            "'training.balance': a clip shows several units, so none can be drawn for its own; use loss or none"
        )
    if settings.run.peek:
        found.append("'run.peek' records classes; leave it out")
    if settings.selection.method == "inner":
        found.append("'selection.method': inner chooses by classes; for units use last")
    return found


def problems(settings: TrainConfig) -> list[str]:
    """Every combination of settings that cannot work, each with the fix; [] where all go together."""
    data, augment, frozen = settings.data, settings.training.augment, settings.encoder.trainable != "all"
    found = []
    if not roots(data):
        found.append("'data.root' must be given: data.root=DIR (what slstt-preprocess wrote, or the flow maps' folder)")
    if data.kind == "flow_maps":
        if len(roots(data)) > 1:
            found.append("'data.root': flow maps come from one folder; give one")
        if augment.rotate or augment.zoom or augment.intensity:
            found.append(
                "'training.augment': rotate, zoom and intensity need true vectors, and flow maps are scaled per "
                "channel; set them to 0 or use data.kind: cache"
            )
        if augment.jitter:
            found.append("'training.augment.jitter': flow maps have one frame; set it to 0")
        if data.target == "emotion" and data.protocol not in FLOW_MAP_PROTOCOLS:
            found.append(
                f"'data.protocol': flow maps are labelled with the composite's three classes and {data.protocol} has "
                f"others; use {', '.join(FLOW_MAP_PROTOCOLS)}"
            )
    if settings.encoder.dropout and not frozen:
        found.append(
            "'encoder.dropout' is for frozen blocks; for blocks that learn set model.regularizer: dropout and "
            "model.drop_path"
        )
    if data.normalize == "imagenet" and data.kind == "cache" and not data.encoding.startswith("hsv"):
        found.append(
            f"'data.normalize': imagenet is for pictures in -1..1 and {data.encoding} has no such range; set "
            "data.encoding: hsv_frame or hsv_clip, or another data.normalize"
        )
    if settings.encoder.keeps_features:
        if augment.rotate or augment.zoom or augment.shift or augment.intensity or augment.jitter:
            found.append(
                "'training.augment': with a frozen encoder features are computed once, so only mirror can be on; "
                "switch the others off or set encoder.trainable: all"
            )
        if data.normalize == "train":
            found.append(
                "'data.normalize': train differs from fold to fold and frozen features do not; use another, or "
                "encoder.trainable: all"
            )
    if frozen and settings.model.checkpointing and not settings.encoder.trainable.startswith("last"):
        found.append("'model.checkpointing' saves nothing when no block learns; set it to false")
    found += _unit_problems(settings)
    if data.protocol == "own" and (len(data.classes) < 2 or len(set(data.classes)) < len(data.classes)):
        found.append("'data.classes': protocol own needs two or more different emotions, e.g. data.classes=[joy,fear]")
    if data.protocol != "own" and data.classes:
        found.append(f"'data.classes' is for data.protocol=own; {data.protocol} has classes of its own")
    found += _classifier_problems(settings.classifier, settings.model, settings.encoder)
    if settings.classifier.name == "committee" and data.normalize != "map":
        found.append(f"'data.normalize': {data.normalize}, but the committee wants normalised maps; set it to map")
    if settings.classifier.name in ("committee", *FLOW_MAP_NETWORKS) and data.kind != "flow_maps":
        found.append(f"'classifier.name': {settings.classifier.name} takes maps of one frame; use data.kind: flow_maps")
    if settings.classifier.name in CLIP_NETWORKS and data.kind != "cache":
        found.append(f"'classifier.name': {settings.classifier.name} takes clips of frames; use data.kind: cache")
    if settings.classifier.name != "slstt":
        if settings.run.save_models or settings.selection.method == "inner":
            found.append(
                "'run.save_models' and selection.method=inner are for classifier.name=slstt alone; leave them out"
            )
        if settings.classifier.trained_at_once and augment != Augment():
            found.append(f"'training.augment': {settings.classifier.name} learns from each clip as it is; leave it out")
    training = settings.training
    if training.warmup_epochs >= training.epochs:
        found.append(f"'training.warmup_epochs': {training.warmup_epochs:g} leaves nothing of {training.epochs} epochs")
    if training.accumulate > training.batch_size:
        found.append(f"'training.accumulate': a batch of {training.batch_size} has no {training.accumulate} pieces")
    run = settings.run
    if run.executor == "ray" and run.device.startswith("cuda") and run.ray.gpus_per_fold == 0:
        found.append("'run.ray.gpus_per_fold' is 0, so Ray would hide every GPU; give a share such as 0.25 or 1")
    if run.executor != "serial" and run.device.startswith("cuda:"):
        found.append(f"'run.device': {run.device} puts every fold on one GPU; with {run.executor} write cuda")
    if run.compile and run.device == "cpu":
        found.append("'run.compile' pays on a GPU only; set it to false")
    if run.compile and (frozen or settings.classifier.trained_at_once):
        found.append(
            "'run.compile' has an effect only where the whole network learns; set it to false, or "
            "encoder.trainable: all and a classifier with epochs"
        )
    numbers = 3 * training.batch_size * settings.model.image_size**2
    if numbers > MOST_NUMBERS:
        found.append(
            f"'training.batch_size': {training.batch_size} pictures of {settings.model.image_size} px take "
            f"{numbers * 4 / 1e9:.0f} GB per frame; lower it or model.image_size"
        )
    return found
