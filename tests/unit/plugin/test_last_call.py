"""Which calls are the last thing that a test does."""

from __future__ import annotations

import pytest

WATCHING = """
import sys

import pytest

from rttcheck.plugin.last_call import is_last_call

class Watching:
    found = []

    def __init__(self, node):
        self.node = node

    def __call__(self, *_, **__):
        self.found.append(is_last_call(sys._getframe(1), self.node, self))
        return self

    verdict = "passed"

class Special(pytest.Function):
    pass

def pytest_pycollect_makeitem(collector, name, obj):
    if name.startswith("test_special"):
        return Special.from_parent(collector, name=name)

@pytest.fixture
def rtt(request):
    Watching.found.clear()
    yield Watching(request.node)
    with open("found", "a") as file:
        print(request.node.name, *Watching.found, file=file)
"""

LAST = """
import pytest

def test_alone(rtt):
    rtt()

def test_with_arguments(rtt):
    others = {"loss": "1%"}
    rtt({"a": 1}["a"], count=len("four"), **others)

def test_over_several_lines(rtt):
    rtt(
        [
            1,
        ],
        count=2,
    )

def test_after_others(rtt):
    with open(__file__):
        pass
    try:
        int("x")
    except ValueError:
        pass
    for _ in range(3):
        len("x")
    rtt()

def test_last_in_an_if(rtt):
    if len(__file__) > 0:
        rtt()

def test_last_in_an_else(rtt):
    if len(__file__) == 0:
        pass
    else:
        rtt()

def test_with_a_docstring_and_a_return(rtt):
    '''It returns nothing.'''
    rtt()
    return

@pytest.mark.parametrize("rtt_too", [1])
@pytest.mark.rtt(rtt="40ms")
def test_marked(rtt, rtt_too):
    rtt(rtt_too)

def test_of_another_name(rtt):
    run = rtt
    run()

class TestInAClass:
    def test_method(self, rtt):
        rtt(1)

    @staticmethod
    def test_static(rtt):
        rtt(1)
"""

NOT_LAST = """
import asyncio
import contextlib
import functools
import types
import unittest

import pytest

def test_kept(rtt):
    result = rtt()

def test_asserted(rtt):
    assert rtt()

def test_returned(rtt):
    return rtt()

def test_attribute(rtt):
    rtt().verdict

def test_called_again(rtt):
    rtt()()

def test_followed(rtt):
    rtt()
    len("x")

def test_followed_in_an_if(rtt):
    if len(__file__) > 0:
        rtt()
    len("x")

def test_first_of_two(rtt):
    rtt()
    assert not rtt.found[0]

def test_in_a_with(rtt):
    with contextlib.suppress(ValueError):
        rtt()

def test_in_a_try(rtt):
    try:
        rtt()
    except ValueError:
        pass

def test_in_a_finally(rtt):
    try:
        rtt()
    finally:
        len("x")

def test_last_of_a_finally(rtt):
    try:
        int("x")
    except ValueError:
        rtt()

def test_in_a_loop(rtt):
    for _ in range(2):
        rtt()

def test_in_a_while(rtt):
    left = 2
    while left:
        left -= 1
        rtt()

def helper(rtt):
    rtt()

def test_in_a_helper(rtt):
    helper(rtt)

def test_in_a_lambda(rtt):
    (lambda: rtt())()

def test_in_a_comprehension(rtt):
    [rtt() for _ in range(2)]

def test_mapped(rtt):
    list(map(rtt, [1, 2]))

def test_partial(rtt):
    functools.partial(rtt, 1)()

def test_partial_in_a_variable(rtt):
    run = functools.partial(rtt, 1)
    run()

def test_attribute_of_the_same_name(rtt):
    holder = types.SimpleNamespace(rtt=functools.partial(rtt, 1))
    holder.rtt()

def test_and(rtt):
    rtt() and len("x")

def test_argument(rtt):
    len([rtt()])

def test_fixture_value(request):
    request.getfixturevalue("rtt")()

def test_async(rtt):
    async def inside():
        rtt()
    asyncio.run(inside())

def test_generator(rtt):
    def inside():
        yield rtt()
    list(inside())

def decorated(function):
    @functools.wraps(function)
    def around(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        finally:
            len("x")
    return around

@decorated
def test_decorated(rtt):
    rtt()

def test_the_function_of_another_test(rtt):
    test_alone(rtt)

def test_alone(rtt):
    rtt() if len("x") > 1 else len("y")
    helper(rtt)

def test_special(rtt):
    rtt()

class TestOfUnittest(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def take(self, rtt):
        self.rtt = rtt

    def test_case(self):
        rtt = self.rtt
        rtt()
"""


def shapes(pytester: pytest.Pytester, tests: str) -> list[tuple[str, list[bool]]]:
    """Run tests, and return what their ``rtt`` found: whether each call of a test is the last."""
    pytester.makeconftest(WATCHING)
    pytester.makepyfile(test_shapes=tests)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-W", "ignore")
    lines = (pytester.path / "found").read_text().splitlines()
    return [(name, [word == "True" for word in found]) for name, *found in map(str.split, lines)]


def test_nothing_follows(pytester: pytest.Pytester) -> None:
    found = shapes(pytester, LAST)
    assert len(found) == LAST.count("def test_")
    assert [name for name, last in found if last != [True]] == []


def test_something_follows_or_may(pytester: pytest.Pytester) -> None:
    found = shapes(pytester, NOT_LAST)
    assert len(found) == NOT_LAST.count("def test_")
    assert [(name, last) for name, last in found if True in last] == []
    assert [name for name, last in found if not last] == []
