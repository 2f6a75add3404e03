"""Divergences between predictions, by hand."""

import math

import pytest
import torch

from unlearning.losses import distillation, js_divergence


def logits(*rows: tuple[float, ...]) -> torch.Tensor:
    """Logits whose softmax is the given probabilities."""
    return torch.tensor(rows, dtype=torch.float64).log()


def test_js_of_two_distributions_by_hand() -> None:
    # p = (1/2, 1/2), q = (1/4, 3/4), m = (3/8, 5/8)
    p_m = 0.5 * math.log(4 / 3) + 0.5 * math.log(4 / 5)
    q_m = 0.25 * math.log(2 / 3) + 0.75 * math.log(6 / 5)
    found = js_divergence(logits((0.5, 0.5)), logits((0.25, 0.75)))
    assert found.tolist() == pytest.approx([(p_m + q_m) / 2])


def test_js_is_symmetric_zero_on_equals_and_ln_2_on_disjoint_predictions() -> None:
    p = torch.tensor([[3.0, -1.0, 0.5], [200.0, 0.0, 0.0]])
    q = torch.tensor([[-2.0, 1.0, 0.0], [0.0, 200.0, 0.0]])
    assert torch.equal(js_divergence(p, q), js_divergence(q, p))
    assert js_divergence(p, p + 7).tolist() == pytest.approx([0, 0], abs=1e-7)  # logits are known up to a constant
    assert js_divergence(p, q)[1].item() == pytest.approx(math.log(2))


def test_js_gradient_is_finite_where_predictions_are_disjoint() -> None:
    p = torch.tensor([[200.0, 0.0]], requires_grad=True)
    js_divergence(p, torch.tensor([[0.0, 200.0]])).sum().backward()
    assert p.grad.isfinite().all()


def test_distillation_is_kl_from_teacher_to_student_averaged_over_the_batch() -> None:
    student, teacher = logits((0.5, 0.5), (0.5, 0.5)), logits((0.25, 0.75), (0.5, 0.5))
    kl = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert distillation(student, teacher).item() == pytest.approx(kl / 2)
    reverse = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert distillation(teacher, student).item() == pytest.approx(reverse / 2)


def test_distillation_temperature_softens_and_is_scaled_back() -> None:
    # at T = 2 the teacher's log-odds ln 9 become ln 3: probabilities (1/4, 3/4)
    student, teacher = logits((0.5, 0.5)), logits((0.1, 0.9))
    kl = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert distillation(student, teacher, temperature=2).item() == pytest.approx(4 * kl)
