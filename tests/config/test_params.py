import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.config.rerank import RERANK_KINDS
from lrcr.errors import ParamsError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(tmp_path: Path, text: str) -> list[str]:
    """The lines of the message, without the file's name."""
    path = write(tmp_path, text)
    with pytest.raises(ParamsError) as error:
        load_params(path)
    lines = str(error.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


# HOW: whitening, contrastive training and ASMK as published (Tolias et al., ECCV 2020) and released.
PUBLISHED = {
    "model.name": "local",
    "smoothing.kernel": 3,
    "whitening.images": 5000,
    "whitening.max_descriptors": 1000,
    "whitening.shrinkage": 1.0,
    "method": "tuples",
    "train.epochs": 20,
    "train.image_size": 1024,
    "train.weight_decay": 1e-4,
    "train.tuples.queries_per_epoch": 2000,
    "train.tuples.negative_pool": 20000,
    "train.tuples.negatives": 5,
    "train.tuples.batch_size": 5,
    "train.tuples.margin": 0.8,
    "train.tuples.learning_rates.backbone": 5e-6,
    "train.tuples.learning_rates.whitening": 0.0,
    "train.tuples.lr_decay": 0.99,
    "train.tuples.solar.margin": 1.25,
    "train.tuples.solar.second_order": 10.0,
    "train.listwise.batch_size": 4096,
    "train.listwise.bins": 25,
    "train.classification.learning_rate": 0.005,
    "train.classification.batch_size": 128,
    "train.classification.warmup_epochs": 5,
    "train.classification.fine_epochs": 50,
    "train.classification.alpha": 0.02,
    "train.classification.local": 0.05,
    "train.validation.extract.image_size": 1024,
    "train.validation.extract.scales": [2.0, 1.414, 1.0, 0.707, 0.5, 0.353, 0.25],
    "train.validation.extract.max_descriptors": 1000,
    "train.validation.codebook.images": 20000,
    "train.validation.codebook.scales": [1.0],
    "train.validation.codebook.max_descriptors": 1000,
    "train.validation.search.multiple_assignment": 5,
    "train.validation.search.alpha": 3.0,
    "train.validation.search.tau": 0.0,
    "train.validation.search.idf": False,
    "pooling.p": 3.0,
    "pooling.levels": 3,
    "pooling.overlap": 0.4,
    "extract.image_size": 1024,
    "scales": [2.0, 1.414, 1.0, 0.707, 0.5, 0.353, 0.25],
    "extract.max_descriptors": 1000,
    "codebook.words": 65536,
    "codebook.images": 20000,
    "fit_scales": [1.0],
    "codebook.max_descriptors": 1000,
    "index.multiple_assignment": 1,
    "index.binary": True,
    "search.multiple_assignment": 5,
    "search.alpha": 3.0,
    "search.tau": 0.0,
    "search.idf": False,
    "search.top": None,
}


@pytest.mark.parametrize("key", PUBLISHED)
def test_default_is_the_published_recipe(key):
    value = load_params()
    for part in key.split("."):
        value = getattr(value, part)
    assert value == PUBLISHED[key]


def test_nothing_is_evaluated_or_trained_on_unless_named():
    params = load_params()
    assert params.datasets == {}
    assert (params.data.train, params.data.val, params.data.fit, params.data.eval) == (None, None, None, [])


def test_file_overrides_defaults_key_by_key(tmp_path):
    params = load_params(write(tmp_path, "train: {tuples: {learning_rates: {backbone: 0.5}}, epochs: 0}\n"))
    assert (params.train.tuples.learning_rates.backbone, params.train.epochs) == (0.5, 0)
    assert (params.train.tuples.learning_rates.whitening, params.train.tuples.margin) == (0.0, 0.8)


def test_empty_file_holds_the_defaults(tmp_path):
    assert load_params(write(tmp_path, "# nothing yet\n")) == Params()


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("5E-6", 5e-6), ("1.5e+2", 150.0), ("1", 1.0), (".5", 0.5)],
)
def test_floats_are_those_of_yaml_1_2(tmp_path, text, value):
    assert load_params(write(tmp_path, f"train: {{weight_decay: {text}}}")).train.weight_decay == value
    assert load_params(overrides=[f"train.weight_decay={text}"]).train.weight_decay == value


@pytest.mark.parametrize("text", ["yes", "no", "on", "off"])
def test_words_are_no_booleans_in_yaml_1_2(tmp_path, text):
    [line] = refusal(tmp_path, f"search: {{idf: {text}}}")
    assert line == f"search.idf: {text!r} is refused: input should be a valid boolean"


def test_overrides_reach_nested_keys_and_win_over_the_file(tmp_path):
    path = write(tmp_path, "smoothing: {kernel: 5}\nseed: 1\n")
    rate = "train.tuples.learning_rates.whitening=1e-3"
    params = load_params(path, ["smoothing.kernel=7", rate, "datasets.mine.kind=folder", "datasets.mine.path=p"])
    assert (params.seed, params.smoothing.kernel, params.train.tuples.learning_rates.whitening) == (1, 7, 1e-3)
    assert params.datasets["mine"].path == "p"


def test_overrides_take_yaml_values():
    params = load_params(overrides=["extract.scales=[1, 0.5]", "search.top=null", "backbone.weights=a=b.pth"])
    assert (params.extract.scales, params.search.top, params.backbone.weights) == ([1.0, 0.5], None, "a=b.pth")


def test_the_last_override_wins():
    assert load_params(overrides=["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("smoothing: {kernl: 3}", ["smoothing.kernl: unknown key; did you mean 'kernel'?"]),
        ("extrct: {}", ["extrct: unknown key; did you mean 'extract'?"]),
        (
            "train: {tuples: {learning_rates: {trunk: 1}}}",
            ["train.tuples.learning_rates.trunk: unknown key; known here: backbone, context, whitening"],
        ),
        ("smoothing: {kernel: '3'}", ["smoothing.kernel: '3' is refused: input should be a valid integer"]),
        ("smoothing: {kernel: 3.0}", ["smoothing.kernel: 3.0 is refused: input should be a valid integer"]),
        ("seed: true", ["seed: True is refused: input should be a valid integer"]),
        ("seed: -1", ["seed: -1 is refused: input should be greater than or equal to 0"]),
        ("threads: 0", ["threads: 0 is refused: input should be greater than or equal to 1"]),
        ("threads: x", ["threads: 'x' is refused: input should be a valid integer"]),
        ("train: {tuples: {margin: 0}}", ["train.tuples.margin: 0 is refused: input should be greater than 0"]),
        (
            "train: {tuples: {lr_decay: 1.1}}",
            ["train.tuples.lr_decay: 1.1 is refused: input should be less than or equal to 1"],
        ),
        *(
            (
                f"train: {{freeze: {value}}}",
                [f"train.freeze: {shown} is refused: must be none, backbone or a number of stages ≥ 1"],
            )
            for value, shown in (("trunk", "'trunk'"), ("0", "0"), ("1.0", "1.0"), ("true", "True"), ("null", "None"))
        ),
        ("whitening: {shrinkage: 2}", ["whitening.shrinkage: 2 is refused: input should be less than or equal to 1"]),
        ("search: {tau: 1}", ["search.tau: 1 is refused: input should be less than 1"]),
        ("backbone: {skip_layers: 4}", ["backbone.skip_layers: 4 is refused: input should be less than or equal to 3"]),
        ("device: gpu", ["device: 'gpu' is refused: input should be 'auto', 'cpu' or 'cuda'"]),
        (
            "smoothing: {kernel: 4}",
            ["smoothing.kernel: 4 is refused: must be odd (a kernel has a centre): 1, 3, 5 or 7"],
        ),
        (
            "graph: {kind: attention, neighbours: 5}",
            ["graph.kind: attention joins all locations; leave neighbours and self_edges out"],
        ),
        (
            "graph: {attention_from: after}",
            ["graph.attention_from: after needs output refine; reweight leaves the features as they are"],
        ),
        (
            "graph: {kind: attention, width: 6}",
            ["graph.width: 6 does not suit the 4 heads of kind attention; use a multiple of 4"],
        ),
        (
            "train: {tuples: {losses: {contrastive: 0}}}",
            ["train.tuples.losses.contrastive: 0, and asmk is 0 too; give one of them a weight"],
        ),
        (
            "train: {tuples: {negatives: 0}}",
            ["train.tuples.negatives: 0 needs losses.asmk and a batch_size of 2 or more"],
        ),
        (
            "train: {tuples: {group_size: 6}}",
            ["train.tuples.group_size: 6 needs negatives 0, and a batch_size of that or more"],
        ),
        (
            "train: {tuples: {schedule: separate}}",
            ["train.tuples.schedule: needs smoothing.kind learnable and graph.kind gcn or attention; set both"],
        ),
        ("model: 3", ["model: 3 is refused: must be a section of these keys: name"]),
        ("model:", ["model: None is refused: must be a section of these keys: name"]),
        ("extract: {scales: [1, -1]}", ["extract.scales.1: -1 is refused: input should be greater than 0"]),
        (
            "extract: {scales: []}",
            ["extract.scales: [] is refused: list should have at least 1 item after validation, not 0"],
        ),
        ("1: 2", ["1: 1 is refused: keys should be strings"]),
    ],
)
def test_refused_values_name_key_value_and_remedy(tmp_path, text, lines):
    assert refusal(tmp_path, text) == lines


@pytest.mark.parametrize(
    "key",
    [
        "train.tuples.learning_rates.backbone",
        "train.tuples.learning_rates.whitening",
        "train.listwise.learning_rates.backbone",
        "train.classification.learning_rate",
        "train.weight_decay",
        "train.tuples.margin",
    ],
)
@pytest.mark.parametrize("value", [".inf", ".nan"])
def test_infinite_rates_are_refused(key, value):
    with pytest.raises(ParamsError, match=f"{key}: (inf|nan) is refused"):
        load_params(overrides=[f"{key}={value}"])


KINDS = "folder, synthetic, roxford5k, rparis6k, revisitop1m, sfm120k, gldv2"


@pytest.mark.parametrize(
    ("dataset", "lines"),
    [
        ("{kind: folder, pth: x}", ["X.path: missing; add it", "X.pth: unknown key; did you mean 'path'?"]),
        ("{kind: folder, path: x, images: 3}", ["X.images: unknown key; known here: kind, path, tolerate_truncated"]),
        ("{path: x}", [f"X.kind: None is not a kind of dataset; use {KINDS}"]),
        ("{kind: drawn}", [f"X.kind: 'drawn' is not a kind of dataset; use {KINDS}"]),
        (
            "{kind: synthetic, split: eval, landmarks: 4, images: 8, distractors: 1}",
            ["X.images: 8 is refused: must be at least 2 × landmarks + distractors"],
        ),
        (
            "{kind: synthetic, split: eval, landmarks: 4, images: 9, distractors: 1, queries: 9}",
            ["X.queries: 9 is refused: must be at most images − distractors"],
        ),
    ],
)
@pytest.mark.parametrize("name", ["photos", "folder", "synthetic"])
def test_refused_datasets_are_named_even_if_a_kind_is_their_name(tmp_path, name, dataset, lines):
    expected = [f"datasets.{line.replace('X', name, 1)}" for line in lines]
    assert refusal(tmp_path, f"datasets: {{{name}: {dataset}}}") == expected


@pytest.mark.parametrize(
    ("step", "line"),
    [
        ("{kind: expansion, image: 3}", "rerank.1.image: unknown key; did you mean 'images'?"),
        ("{kind: superglobal, top: 0}", "rerank.1.top: 0 is refused: input should be greater than or equal to 1"),
        ("{kind: fast}", f"rerank.1.kind: 'fast' is not a kind of step; use {', '.join(RERANK_KINDS)}"),
    ],
)
def test_refused_steps_of_reranking_are_named_by_their_place(tmp_path, step, line):
    assert refusal(tmp_path, f"rerank: [{{kind: expansion}}, {step}]") == [line]


@pytest.mark.parametrize("name", ["a b", "a/b", "-a", "ä", ""])
def test_names_of_datasets_are_plain(tmp_path, name):
    [line] = refusal(tmp_path, f"datasets: {{'{name}': {{kind: folder, path: x}}}}")
    assert line.startswith(f"datasets.{name}: {name!r} is refused: string should match pattern")


@pytest.mark.parametrize("role", ["train", "val", "fit"])
def test_data_names_known_datasets(tmp_path, role):
    text = f"datasets: {{a: {{kind: folder, path: x}}, b: {{kind: folder, path: y}}}}\ndata: {{{role}: c}}"
    assert refusal(tmp_path, text) == [f"data.{role}: unknown dataset 'c'; add it under datasets (there: a, b)"]


def test_every_name_of_data_eval_is_known(tmp_path):
    text = "datasets: {a: {kind: folder, path: x}}\ndata: {eval: [a, c]}"
    assert refusal(tmp_path, text) == ["data.eval: unknown dataset 'c'; add it under datasets (there: a)"]
    assert refusal(tmp_path, "data: {fit: c}") == ["data.fit: unknown dataset 'c'; add it under datasets (there: none)"]


def test_several_problems_take_several_lines(tmp_path):
    lines = refusal(tmp_path, "seed: -1\nsmoothing: {kernl: 3, kernel: 2}\nextrct: {}\n")
    assert [line.split(": ")[0] for line in lines] == ["seed", "smoothing.kernel", "smoothing.kernl", "extrct"]


@pytest.mark.parametrize("text", ["a: [", "seed: 1\nseed: 2", "seed: !!int abc", "device: 2024-13-45", "\x00"])
def test_bad_yaml_is_refused_in_one_line(tmp_path, text):
    [line] = refusal(tmp_path, text)
    assert line.startswith("not valid YAML (") and line.endswith("; correct it")


def test_text_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes("backbone: {weights: Gewichte für alle.pth}".encode("latin-1"))
    with pytest.raises(ParamsError, match=r"params\.yaml: not valid YAML \(.*utf-8"):
        load_params(path)


@pytest.mark.parametrize(("text", "found"), [("- 1", "list"), ("words", "str"), ("3", "int")])
def test_a_file_without_keys_is_refused(tmp_path, text, found):
    assert refusal(tmp_path, text) == [f"holds a {found}, not sections of keys; see params.yaml"]


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(ParamsError, match=r"none\.yaml: no such file; name a params file in YAML"):
        load_params(tmp_path / "none.yaml")
    with pytest.raises(ParamsError, match=r"cannot be read .*; name a params file in YAML"):
        load_params(tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("smoothing.kernel", "--set smoothing.kernel: not key=value; write for example --set smoothing.kernel=5"),
        ("=3", "--set =3: not key=value; write for example --set smoothing.kernel=5"),
        ("extract.scales=[1", "--set extract.scales=[1: '[1' is not a YAML value; quote it"),
        ("device=2024-13-45", "--set device=2024-13-45: '2024-13-45' is not a YAML value; quote it"),
        ("smoothing.kernl=3", "params: smoothing.kernl: unknown key; did you mean 'kernel'?"),
        ("smoothing.kernel=0", "params: smoothing.kernel: 0 is refused: input should be greater than or equal to 1"),
        ("seed=", "params: seed: None is refused: input should be a valid integer"),
        (
            "train.freeze={stages: 1}",
            "params: train.freeze: {'stages': 1} is refused: must be none, backbone or a number of stages ≥ 1",
        ),
    ],
)
def test_bad_overrides_are_refused(override, message):
    with pytest.raises(ParamsError) as error:
        load_params(overrides=[override])
    assert str(error.value) == message


def test_an_override_that_does_not_fit_its_section_is_named_without_the_section(tmp_path):
    path = write(tmp_path, "train: {tuples: {queries_per_epoch: 9, batch_size: 4, losses: {contrastive: 2}}}")
    with pytest.raises(ParamsError) as error:
        load_params(path, ["train.tuples.negatives=0"])
    assert str(error.value) == f"{path}: train.tuples.negatives: 0 needs losses.asmk and a batch_size of 2 or more"


def test_override_below_a_value_is_refused(tmp_path):
    with pytest.raises(ParamsError, match=r"--set seed\.x=1: seed is a value, not a section; see params\.yaml"):
        load_params(write(tmp_path, "seed: 3"), ["seed.x=1"])


def test_sections_are_plain_and_complete():
    params = load_params(overrides=["smoothing.kernel=5", "seed=4"])
    assert params.sections("model", "seed") == {"model": {"name": "local"}, "seed": 4}
    assert params.sections() == {}
    rates = params.sections("train")["train"]["tuples"]["learning_rates"]
    assert rates == {"backbone": 5e-6, "context": 5e-05, "whitening": 0.0}


def test_fit_section_follows_exactly_what_decides_the_fit_descriptors():
    fit = Params().fit_section()
    for same in ("codebook.words=8", "codebook.seed=9", "extract.scales=[1]", "search.tau=0.5"):
        assert load_params(overrides=[same]).fit_section() == fit
    for other in (
        "codebook.images=8",
        "codebook.scales=[2]",
        "codebook.max_descriptors=9",
        "extract.image_size=8",
        "extract.decoded_images=8",
        "seed=1",
    ):
        assert load_params(overrides=[other]).fit_section() != fit


def test_words_are_learned_from_a_sample_and_a_whitening_from_all_images():
    fits = [load_params(overrides=["model.name=gem", f"codebook.images={n}"]).fit_section() for n in (8, 9)]
    assert fits[0] == fits[1] and fits[0]["fit"]["images"] is None
    assert load_params(overrides=["model.name=fire"]).fit_section()["fit"]["images"] == 20000


def test_each_family_has_its_published_scales_unless_others_are_given():
    params = load_params(overrides=["model.name=cfcd"])
    assert params.scales == params.fit_scales == [0.3535, 0.5, 0.7071, 1.0, 1.4142]
    assert params.sections("extract")["extract"]["scales"] == params.scales
    assert params.fit_section()["fit"]["scales"] == params.scales
    assert load_params(overrides=["model.name=cfcd", "extract.scales=[1]"]).fit_scales == [1.0]
    scales = ("extract.scales=[1]", "extract.global_scales=[3]")
    assert load_params(overrides=["model.name=cfcd", *scales]).scales == [3.0]
    assert load_params(overrides=scales).scales == [1.0]
    given = load_params(overrides=["model.name=cfcd", "extract.scales=[1]", "codebook.scales=[2]"])
    assert (given.scales, given.fit_scales) == ([1.0], [2.0])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.name=mac", "pooling.projection=8"], "pooling.projection: mac has none"),
        (["pooling.projection=8"], "pooling.projection: local has none"),
        (
            ["model.name=solar", "train.freeze=backbone"],
            "train.freeze: backbone would freeze the layers around solar's",
        ),
        (
            ["model.name=solar", "train.freeze=1"],
            "train.freeze: 1 would freeze the layers around solar's attention; set it to none, or to 2 or more",
        ),
        (
            ["model.name=gem", "train.tuples.schedule=separate"],
            "train.tuples.schedule: gem has no smoothing and graph; set it to joint",
        ),
        (
            ["model.name=gem", "train.tuples.losses.asmk=1"],
            "train.tuples.losses: gem has no local descriptors; leave asmk at 0",
        ),
        (
            ["train.method=classification"],
            "train.method: classification trains global vectors; set it to tuples, or model.name gem",
        ),
        (
            ["train.method=listwise"],
            "train.method: listwise trains global vectors; set it to tuples, or model.name gem",
        ),
        (["model.name=gem", "train.validation.by=asmk"], "train.validation.by: gem has no local descriptors for asmk"),
    ],
)
def test_settings_that_a_model_cannot_heed_are_refused(overrides, said):
    with pytest.raises(ParamsError, match=re.escape(said)):
        load_params(overrides=overrides)


@pytest.mark.parametrize("name", ["gem", "fire"])
def test_without_training_its_losses_need_not_fit(name):
    untrained = [f"model.name={name}", "train.tuples.losses.asmk=1", "train.epochs=0"]
    assert load_params(overrides=untrained).train.tuples.losses.asmk == 1


def test_params_do_not_change_once_made():
    with pytest.raises(ValidationError):
        Params().seed = 3


@given(st.integers(-3, 30))
def test_kernels_are_odd_and_positive(kernel):
    if kernel > 0 and kernel % 2:
        assert load_params(overrides=[f"smoothing.kernel={kernel}"]).smoothing.kernel == kernel
    else:
        with pytest.raises(ParamsError, match=r"smoothing\.kernel"):
            load_params(overrides=[f"smoothing.kernel={kernel}"])


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=0, max_value=1e6))
def test_plain_values_make_the_same_params_again(rate):
    params = load_params(overrides=[f"train.tuples.learning_rates.backbone={rate!r}", "codebook.file=x.npz"])
    assert math.isclose(params.train.tuples.learning_rates.backbone, rate, rel_tol=0, abs_tol=0)
    assert Params.model_validate(params.model_dump(mode="json")) == params


@pytest.mark.parametrize(
    "dataset",
    [
        "{kind: roxford5k}",
        "{kind: rparis6k, distractors: true}",
        "{kind: revisitop1m}",
        "{kind: sfm120k, split: val_eccv20}",
        "{kind: gldv2, split: private}",
    ],
)
def test_public_benchmarks_are_datasets(tmp_path, dataset):
    (tmp_path / "params.yaml").write_text(f"datasets: {{name: {dataset}}}\ndata: {{eval: [name]}}\n")
    load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("dataset", "line"),
    [
        ("{kind: roxford5k, distractors: 1}", "name.distractors: 1 is refused: input should be a valid boolean"),
        ("{kind: sfm120k}", "name.split: missing; add it"),
        ("{kind: gldv2, split: test}", "name.split: 'test' is refused: input should be 'train', 'public' or 'private'"),
        ("{kind: revisitop1m, split: x}", "name.split: unknown key; known here: kind"),
    ],
)
def test_wrong_params_of_public_benchmarks_are_named(tmp_path, dataset, line):
    assert refusal(tmp_path, f"datasets: {{name: {dataset}}}") == [f"datasets.{line}"]


@pytest.mark.parametrize(("name", "stages"), [("solar", 2), ("delg", 1)])
def test_a_model_with_attention_in_its_last_stages_can_freeze_those_before(name, stages):
    assert load_params(overrides=[f"model.name={name}", f"train.freeze={stages}"]).train.trained_stages == stages


@pytest.mark.parametrize(("freeze", "stages"), [("none", None), ("backbone", 0), ("2", 2)])
def test_what_is_frozen_leaves_a_number_of_stages_to_train(freeze, stages):
    assert load_params(overrides=[f"train.freeze={freeze}"]).train.trained_stages == stages
