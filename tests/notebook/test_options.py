from __future__ import annotations

import argparse
from datetime import timedelta

import pytest

from flowkernel.common import RetryPolicy
from flowkernel.model.ids import HOUR, SECOND
from flowkernel.notebook.cell_options import CellOptions, parse_cell_options
from flowkernel.notebook.errors import UsageError
from flowkernel.notebook.options import HelpShown, Words, parse_duration, parse_retry, split_words


def options(line: str, **names: object) -> CellOptions:
    return parse_cell_options(split_words(line).words, names)


@pytest.mark.parametrize(
    ("line", "words", "quiet"),
    [
        ("", (), False),
        ("list --status running", ("list", "--status", "running"), False),
        ("a 'b c' \"d e\"", ("a", "b c", "d e"), False),
        ("show x;", ("show", "x"), True),
        ("show x ; ", ("show", "x"), True),
        ("a # b $c {d}", ("a", "#", "b", "$c", "{d}"), False),
        ("--input \"'text'\"", ("--input", "'text'"), False),
        ("--memo \"{'a': 1}\"", ("--memo", "{'a': 1}"), False),
        ("--memo {'a': 1, \"b\": [2, ')']} x", ("--memo", "{'a': 1, \"b\": [2, ')']}", "x"), False),
        ("--input f(1, 'x y') --input [1, 2][0]", ("--input", "f(1, 'x y')", "--input", "[1, 2][0]"), False),
        ("--reason 'it (is)' :( x", ("--reason", "it (is)", ":(", "x"), False),
        ('a\\ b "c\\"d"', ("a b", 'c"d'), False),
    ],
)
def test_a_line_is_split_as_a_shell_does(line: str, words: tuple[str, ...], quiet: bool) -> None:
    assert split_words(line) == Words(words, quiet)


def test_an_open_quote_is_named() -> None:
    with pytest.raises(UsageError, match=r"No closing quotation in: show 'x\. Close the quote"):
        split_words("show 'x")


def test_all_options_of_a_cell() -> None:
    found = options(
        "weather --id w-1 --task-queue q --start-to-close 30s --schedule-to-close 1h30m --heartbeat 500ms "
        "--execution-timeout 2d --run-timeout 3m --task-timeout 5 --memo \"{'a': n}\" --new --wait",
        n=7,
    )
    assert (found.name, found.workflow_id, found.task_queue) == ("weather", "w-1", "q")
    assert (found.start_to_close, found.schedule_to_close) == (timedelta(seconds=30), timedelta(minutes=90))
    assert found.heartbeat == timedelta(milliseconds=500)
    assert (found.execution_timeout, found.run_timeout, found.task_timeout) == (
        timedelta(days=2), timedelta(minutes=3), timedelta(seconds=5),
    )  # fmt: skip
    assert found.memo == {"a": 7}
    assert (found.new, found.wait, found.start, found.starts_class) == (True, True, False, False)


def test_nothing_given() -> None:
    found = options("")
    assert (found.name, found.workflow_id, found.retry, found.inputs) == (None, None, None, ())
    assert found.activity_options().start_to_close_timeout == HOUR


def test_a_limit_of_the_author_s_own_replaces_the_notebook_s_hour() -> None:
    assert options("--schedule-to-close 5s").activity_options().start_to_close_timeout is None
    assert options("--start-to-close 5s").activity_options().start_to_close_timeout == 5 * SECOND


def test_inputs_are_expressions() -> None:
    found = options("--input cart --input 17 --input -5 --input \"'text'\" --input [1,2]", cart={"a": 1})
    assert found.inputs == ({"a": 1}, 17, -5, "text", [1, 2])
    assert found.starts_class


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("--strat-to-close 3s", "unknown option --strat-to-close. Did you mean --start-to-close? See %%workflow --help"),
        ("--xyzzy", "unknown option --xyzzy. Known: --execution-timeout, "),
        ("--start-to-close soon", "argument --start-to-close: 'soon' is no duration"),
        ("--start-to-close", "argument --start-to-close: expected one argument"),
        ("a b", "unrecognized arguments: b"),
        ("2x", "NAME '2x' cannot be a variable. Use letters, digits and underscores."),
        ("--memo 3", "--memo 3: a int is no dict."),
        ("--input cart", "--input cart: name 'cart' is not defined. Did you mean 'card'?"),
        ("--input zzz", "For the text itself write --input \"'zzz'\"."),
        ("--input 'a b'", "A value is a Python expression; quote the whole of it"),
        ("--input 1/0", "--input 1/0: ZeroDivisionError: division by zero"),
        ("--retry maximum_atempts=3", "--retry has no 'maximum_atempts'. Did you mean maximum_attempts?"),
        ("--retry maximum_attempts=many", "--retry maximum_attempts=many: not a number or a literal."),
        ("--retry initial_interval=soon", "--retry initial_interval: 'soon' is no duration"),
        ("--retry 7", "--retry 7: a int is no retry policy."),
        ("--sta", "unknown option --sta"),
    ],
)
def test_a_mistake_names_the_option_and_the_way_out(line: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        options(line, card=1)
    assert text in str(caught.value)
    assert caught.value._render_traceback_() == [f"UsageError: {caught.value}"]


def test_a_retry_policy_that_breaks_a_rule() -> None:
    with pytest.raises(UsageError, match=r"backoff_coefficient is 0\.5"):
        options("--retry backoff_coefficient=0.5").activity_options()


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("maximum_attempts=3", RetryPolicy(maximum_attempts=3)),
        ("maximum_attempts=3, initial_interval=1s", RetryPolicy(maximum_attempts=3)),
        ("initial_interval=1m30s,backoff_coefficient=1.5", RetryPolicy(timedelta(seconds=90), 1.5)),
        ("maximum_interval='10s'", RetryPolicy(maximum_interval=timedelta(seconds=10))),
        ("non_retryable_error_types=['A', 'B'], maximum_attempts=2",
         RetryPolicy(maximum_attempts=2, non_retryable_error_types=["A", "B"])),
        ("{'maximum_attempts': 3, 'initial_interval': '2s'}", RetryPolicy(timedelta(seconds=2), maximum_attempts=3)),
        ("policy", RetryPolicy(maximum_attempts=9)),
    ],
)  # fmt: skip
def test_retry_policies(text: str, policy: RetryPolicy) -> None:
    assert parse_retry(text, {"policy": RetryPolicy(maximum_attempts=9)}, "%%workflow") == policy


def test_help_teaches_with_examples() -> None:
    with pytest.raises(HelpShown) as caught:
        options("weather --help")
    text = caught.value.text
    assert "usage: %%workflow" in text
    assert "--start-to-close TIME" in text
    assert "examples:\n  %%workflow weather --start-to-close 30s\n  rows = await load(source)" in text


def test_the_value_of_an_option_is_no_option() -> None:
    assert options("--id=--strange").workflow_id == "--strange"


def test_a_duration() -> None:
    assert parse_duration("1h30m") == timedelta(minutes=90)
    with pytest.raises(argparse.ArgumentTypeError):
        parse_duration("-3s")
