"""A user's own function, named as "module:function"."""

import pytest

from amid.config.own_function import own_function, users_code
from amid.errors import RequestError


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_divergences.py").write_text("def l2(a, b):\n    return (a - b) ** 2\n\nnumber = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_function_is_found_by_module_and_name(module):
    assert own_function("divergence", "my_divergences:l2")(5, 2) == 9


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("no_colon", "divergence function must read 'module:function', got 'no_colon'"),
        (":f", "must read 'module:function', got ':f'"),
        ("no_such_module_here:f", "module 'no_such_module_here' cannot be imported .*PYTHONPATH"),
        ("my_divergences:l3", "function in module 'my_divergences' 'l3' unknown; valid: l2"),
        ("my_divergences:number", "'number' unknown; valid: l2"),
    ],
)
def test_a_wrong_reference_says_what_is_wrong(module, reference, text):
    with pytest.raises(RequestError, match=text):
        own_function("divergence", reference)


def test_whatever_a_users_code_raises_is_a_bad_request_with_its_place():
    said = r"reward function 'm:f' cannot be used: KeyError: 'x' \(at .*:\d+\)"
    with pytest.raises(RequestError, match=said), users_code("reward", "m:f"):
        raise KeyError("x")
    with pytest.raises(RequestError, match="^as it is$"), users_code("reward", "m:f"):
        raise RequestError("as it is")
