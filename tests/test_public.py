"""What the package offers is there, documented, and what its types say."""

import importlib
import inspect
import pkgutil
from types import FunctionType

import pytest
from pydantic import BaseModel

import invlearn


def walk():
    yield invlearn
    for found in pkgutil.walk_packages(invlearn.__path__, "invlearn."):
        yield importlib.import_module(found.name)


def public_objects(module):
    """Functions and classes that a module defines, and the public methods of the classes."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(thing) or inspect.isclass(thing):
            yield f"{module.__name__}.{name}", thing
        if inspect.isclass(thing):
            for key, member in vars(thing).items():
                if not key.startswith("_") and isinstance(
                    member, property | classmethod | staticmethod | FunctionType
                ):
                    yield f"{module.__name__}.{name}.{key}", member


EVERYTHING = {name: thing for module in walk() for name, thing in public_objects(module)}
MODULES = {module.__name__: module for module in walk()}


@pytest.mark.parametrize("name", invlearn.__all__)
def test_every_public_name_can_be_imported_and_is_documented(name):
    thing = getattr(invlearn, name)
    assert inspect.getdoc(thing)
    assert name in dir(invlearn)


def test_a_name_that_is_not_public_is_an_ordinary_attribute_error():
    with pytest.raises(AttributeError, match="'invlearn' has no attribute 'traain'"):
        invlearn.traain  # noqa: B018


def test_the_public_names_agree_with_what_type_checkers_see():
    source = inspect.getsource(invlearn).partition("if TYPE_CHECKING:")[2].partition("\n\n")[0]
    seen = {line.rpartition(" as ")[2] for line in source.splitlines() if " as " in line}
    assert seen == set(invlearn.__all__)
    assert list(invlearn.__all__) == sorted(invlearn.__all__)


def test_every_module_says_in_its_first_line_what_it_is_for():
    firsts = {
        name: str(module.__doc__).strip().partition("\n")[0] for name, module in MODULES.items()
    }
    assert {n: first for n, first in firsts.items() if not first.endswith((".", ":", "?"))} == {}


def test_everything_public_is_documented_by_a_sentence():
    texts = {n: inspect.getdoc(getattr(t, "__func__", t)) or "" for n, t in EVERYTHING.items()}
    firsts = {name: " ".join(text.partition("\n\n")[0].split()) for name, text in texts.items()}
    assert {n: first for n, first in firsts.items() if not first.endswith((".", ":"))} == {}


def test_every_setting_is_documented():
    """The help of the command line is made of these."""
    for name, thing in EVERYTHING.items():
        if inspect.isclass(thing) and issubclass(thing, BaseModel):
            for field, info in thing.model_fields.items():
                assert info.description, f"{name}.{field}"


def test_every_error_is_one_that_users_can_catch():
    for name, thing in EVERYTHING.items():
        is_error = inspect.isclass(thing) and issubclass(thing, Exception)
        if is_error and not issubclass(thing, Warning):
            assert issubclass(thing, invlearn.InvlearnError), name
