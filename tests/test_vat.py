import torch

from models.vat import adversarial_direction, vat_loss

torch.set_num_threads(1)  # tiny tensors: threads would only wait for each other


def test_the_direction_is_a_unit_vector_along_which_the_function_changes_most():
    torch.manual_seed(0)
    slope = torch.tensor([3.0, 0.0, 4.0])
    direction = adversarial_direction(lambda h: h @ slope, torch.randn(5, 3), xi=0.1, steps=2)
    torch.testing.assert_close(direction.norm(dim=-1), torch.ones(5))
    torch.testing.assert_close((direction @ slope).abs(), torch.full((5,), 5.0))


def test_the_loss_of_a_linear_function_is_the_squared_slope_times_epsilon():
    torch.manual_seed(0)
    slope = torch.tensor([3.0, 4.0])
    loss = vat_loss(lambda h: h @ slope, torch.randn(6, 2), epsilon=0.5)
    torch.testing.assert_close(loss, torch.tensor((5.0 * 0.5) ** 2))


def test_a_flat_function_has_no_loss():
    assert vat_loss(lambda h: (h * 0).sum(-1), torch.randn(4, 3)).item() == 0


def test_training_on_it_flattens_the_function_and_reaches_the_representation():
    torch.manual_seed(0)
    layer, h = torch.nn.Linear(4, 1), torch.randn(16, 4, requires_grad=True)
    bend = lambda x: torch.tanh(layer(x)).squeeze(-1)  # noqa: E731 - a function of the layer
    first = vat_loss(bend, h)
    first.backward()
    assert layer.weight.grad.abs().sum() > 0
    assert h.grad.abs().sum() > 0
    optimiser = torch.optim.SGD(layer.parameters(), 0.5)
    for _ in range(30):
        optimiser.zero_grad()
        vat_loss(bend, h).backward()
        optimiser.step()
    assert vat_loss(bend, h) < 0.5 * first
