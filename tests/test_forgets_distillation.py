"""The first-order methods on digits: each forgets a class, with its settings for digits, or it is recorded why not.

The retrained model gets none of the forgotten class right, and all of the retain set.
"""

from statistics import median

import pytest

from tests.digits import rows


@pytest.mark.parametrize(
    ("method", "remembered"),  # of the forget set, beyond what the retrained model gets right, at most
    [
        ("scrub", 0.02),
        pytest.param("neggrad_plus", 0.02, marks=pytest.mark.slow),
        pytest.param("finetune", 0.02, marks=pytest.mark.slow),
        pytest.param("amnesiac", 0.02, marks=pytest.mark.slow),  # random_label, among the others, takes its steps
        ("bad_teacher", 0.15),
        ("gradient_ascent", 0.25),
    ],
)
def test_forgets_a_class_and_keeps_the_others(method: str, remembered: float, places: list[str]) -> None:
    found = rows(places, f"method={method}")
    retrained, unlearned = found["retrained"], found["unlearned"]
    assert found["original"]["forget/acc"] == 1
    assert unlearned["forget/acc"] <= retrained["forget/acc"] + remembered
    assert unlearned["test_forget/acc"] <= retrained["test_forget/acc"] + remembered
    assert unlearned["retain/acc"] >= retrained["retain/acc"] - 0.02
    assert unlearned["test_retain/acc"] >= retrained["test_retain/acc"] - 0.04


@pytest.mark.slow
@pytest.mark.parametrize("addon", ["", "saliency"])
def test_random_labels_of_a_random_tenth_come_near_the_retrained_model(addon: str, places: list[str]) -> None:
    """It keeps most of such a tenth, too; the settings for a class make a tenth of the tenth and more wrong."""
    found = rows(places, "scenario=random", "method=random_label", f"addon=[{addon}]")
    assert found["retrained"]["forget/acc"] >= 0.95
    for metric in ("forget/acc", "retain/acc", "test/acc"):
        assert found["unlearned"][metric] == pytest.approx(found["retrained"][metric], abs=0.03)


@pytest.mark.slow
def test_jit_forgets_most_classes_and_keeps_the_others(places: list[str]) -> None:
    """The bounds hold for the median over five digits; most zeros are still recognised.

    At a rate of 5e-5 this original forgets the zeros too, but keeps only 0.57 of the retain set: no rate suits all
    digits.
    """
    found = [rows(places, "method=jit", f"scenario.classes=[{digit}]") for digit in range(5)]
    assert all(row["original"]["forget/acc"] == 1 for row in found)
    distance = {
        metric: [row["unlearned"][metric] - row["retrained"][metric] for row in found]
        for metric in ("forget/acc", "test_forget/acc", "retain/acc", "test_retain/acc")
    }
    assert median(distance["forget/acc"]) <= 0.02
    assert median(distance["test_forget/acc"]) <= 0.02
    assert median(distance["retain/acc"]) >= -0.02
    assert median(distance["test_retain/acc"]) >= -0.1
    assert min(distance["retain/acc"]) >= -0.15
    assert [digit for digit in range(5) if distance["forget/acc"][digit] > 0.1] == [0]


# A pass of impairing of equally many steps on equally many retain samples, with a single noise image.
UNIMPAIRED = ["method.noise_images=1", "method.copies=1", "method.batch_size=11"]


@pytest.mark.slow
def test_unsir_forgets_a_class_by_impairing(places: list[str]) -> None:
    """UNSIR's repair is fine-tuning, which at a larger rate would forget by itself; at this rate it does not."""
    found = rows(places, "method=unsir", "scenario.classes=[0]")
    retrained, unlearned = found["retrained"], found["unlearned"]
    assert unlearned["forget/acc"] <= retrained["forget/acc"] + 0.15
    assert unlearned["retain/acc"] >= retrained["retain/acc"] - 0.02
    assert unlearned["test_retain/acc"] >= retrained["test_retain/acc"] - 0.04
    unimpaired = rows(places, "method=unsir", "scenario.classes=[0]", *UNIMPAIRED)["unlearned"]
    assert unimpaired["forget/acc"] >= 0.8


@pytest.mark.slow
def test_unsir_impairs_a_sub_class(places: list[str]) -> None:
    """The whole super-class is impaired, and its retained samples repair it: most of the digit is recognised again."""
    subclass = ["method=unsir", "scenario=subclass", "scenario.classes=[8]"]
    impaired, unimpaired = (rows(places, *subclass, *more)["unlearned"] for more in ([], UNIMPAIRED))
    assert impaired["forget/acc"] <= unimpaired["forget/acc"] - 0.1
    assert unimpaired["forget/acc"] >= 0.95
    assert impaired["retain/acc"] >= 0.9


@pytest.mark.slow
def test_scrub_rewinds_to_the_error_of_unseen_samples(places: list[str]) -> None:
    """Five maximising passes make random forget samples worse than unseen ones; an earlier epoch is nearer to these."""
    options = ["method=scrub", "scenario=random", "scenario.count=100", "method.msteps=5", "retrained=false"]
    options += ["method.forget_batch_size=8"]
    final, rewound = (rows(places, *options, f"method.rewind={how}")["unlearned"] for how in ("false", "true"))
    reference = final["val/acc"]  # 100 samples are of all classes
    assert final["forget/acc"] < reference - 0.1
    assert abs(rewound["forget/acc"] - reference) < abs(final["forget/acc"] - reference)
    assert rewound["retain/acc"] > final["retain/acc"]


@pytest.mark.slow
def test_emmn_does_not_forget_at_this_size(places: list[str]) -> None:
    """EMMN trains on noise on which the model errs, labelled as the forgotten class: here that class replaces others.

    Nothing preserves the others, because the noise made for them has no error from the start. A twentieth of the usual
    training is used, which damages less (all of it leaves 0.2 of the retain set).
    """
    unlearned = rows(places, "method=emmn", "method.copies=8", "method.epochs=1", "method.keep=null")["unlearned"]
    assert unlearned["forget/acc"] >= 0.9
    assert unlearned["retain/acc"] <= 0.9


@pytest.mark.slow
def test_gkt_forgets_but_recovers_a_part_of_the_others(places: list[str]) -> None:
    """A new network learns from generated images only, which do not look like digits.

    Ten pseudo-batches are used instead of a hundred, which take a minute and reach 0.6 of the retain set.
    """
    unlearned = rows(places, "method=gkt", "method.pseudo_batches=10")["unlearned"]
    assert unlearned["forget/acc"] == 0
    assert 0.15 <= unlearned["retain/acc"] <= 0.9  # chance: 0.11
