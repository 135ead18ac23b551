"""What goes with every insert, and that nothing goes which would break "exactly once"."""

import pytest

from recorder.clickhouse.settings import (
    check_insert_settings,
    check_query_settings,
    insert_settings,
)
from recorder.config import ClickHouseConfig
from tickd.app.config import Config
from tickd.config import parse
from tickd.errors import ConfigError


def test_by_default_the_server_collects_nothing_and_repeats_reach_the_views():
    assert insert_settings({}) == {
        "async_insert": "0",
        "wait_for_async_insert": "1",
        "deduplicate_blocks_in_dependent_materialized_views": "1",
    }


def test_a_server_that_collects_answers_afterwards_and_remembers_tokens():
    settings = insert_settings({"async_insert": 1, "async_insert_max_data_size": 1_000_000})
    assert settings["wait_for_async_insert"] == "1"
    assert settings["async_insert_deduplicate"] == "1"
    assert settings["async_insert_max_data_size"] == "1000000"


def test_values_are_said_as_clickhouse_reads_them():
    given = {"insert_quorum": "auto", "insert_quorum_parallel": False, "x_ratio": 0.5, "on": True}
    settings = insert_settings(given)
    assert [settings[name] for name in given] == ["auto", "0", "0.5", "1"]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("wait_for_async_insert", 0, "before the rows are stored"),
        ("wait_for_async_insert", "false", "before the rows are stored"),
        ("insert_deduplicate", 0, "without tokens"),
        ("deduplicate_insert", "disable", "without tokens"),
        ("deduplicate_insert", "backward_compatible_choice", "without tokens"),
        ("async_insert_deduplicate", False, "without tokens"),
        ("deduplicate_blocks_in_dependent_materialized_views", 0, "miss bars"),
        ("input_format_allow_errors_num", 1, "drop rows"),
        ("input_format_allow_errors_ratio", 0.1, "drop rows"),
        ("materialized_views_ignore_errors", 1, "miss trades"),
        ("max_insert_block_size", 1_000, "in pieces"),
        ("insert_deduplication_token", "x", "for each request"),
        ("query", "x", "for each request"),
        ("param_x", "x", "for each request"),
        ("async_insert&query", 1, "not the name"),
        ("Async_Insert", 1, "not the name"),
        ("", 1, "not the name"),
    ],
)
def test_what_would_break_exactly_once_is_refused_with_its_reason(name, value, why):
    with pytest.raises(ValueError, match=why):
        check_insert_settings({name: value})


def test_the_same_names_with_harmless_values_are_fine():
    check_insert_settings(
        {
            "wait_for_async_insert": True,
            "insert_deduplicate": 1,
            "deduplicate_insert": "enable",
            "input_format_allow_errors_num": 0,
            "input_format_allow_errors_ratio": "0.0",
            "max_insert_block_size": 1_048_449,
            "insert_quorum": "auto",
            "async_insert_busy_timeout_max_ms": 200,
        }
    )
    check_query_settings({"select_sequential_consistency": 1})
    with pytest.raises(ValueError, match="session_id"):
        check_query_settings({"session_id": "x"})


def test_settings_come_from_the_file_and_from_the_environment():
    text = b"[clickhouse.settings]\ninsert_quorum = 2\nasync_insert = false\n"
    environment = {
        "TICKD__CLICKHOUSE__SETTINGS__INSERT_QUORUM": "3",
        "TICKD__CLICKHOUSE__SETTINGS__INSERT_QUORUM_TIMEOUT": "60000",
        "TICKD__CLICKHOUSE__QUERY_SETTINGS__MAX_THREADS": "2",
    }
    config = parse(text, Config, environment=environment).clickhouse
    assert config.settings == {
        "insert_quorum": 3,
        "insert_quorum_timeout": 60_000,
        "async_insert": False,
    }
    assert config.query_settings == {"max_threads": 2}
    with pytest.raises(ConfigError, match="before the rows are stored"):
        parse(b"clickhouse.settings = { wait_for_async_insert = 0 }", Config)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('url = ["http://a:1", "http://b:1"]', "hold the same tables"),
        ('url = ["http://a:1", "http://a:1"]\nreplicas = true', "twice"),
        ('url = ["http://a:1", "embedded"]\nreplicas = true', "neither"),
        ("url = []", "empty"),
        ('url = "http://user:x@a:1"', "holds a user"),
        ('url = "http://a:1/?database=x"', "more than host"),
        ('url = "ftp://a"', "neither"),
        ('format = "native"\ncompression = "gzip"', "is for format"),
        ('key_file = "x"', "belongs to cert_file"),
        ('schema = { engine = "replicated", distributed = true }', "needs schema.cluster"),
        ('schema = { engine = "replicated", cluster = "c\'; DROP" }', "not a plain name"),
        ('schema = { engine = "replicated", replica_path = "/x" }', "each table needs its own"),
        ('schema = { replica_name = "{r}\'" }', "holds other than"),
        ("schema = { ttl_days = -1 }", "not in 0"),
        ("schema = { cold_after_days = 3 }", "belong together"),
        ('schema = { cold_after_days = 3, cold_volume = "cold" }', "name it"),
        (
            'schema = {ttl_days = 3, storage_policy = "p", cold_after_days = 3, cold_volume = "c"}',
            "above schema.cold_after_days",
        ),
    ],
)
def test_relations_between_keys_are_checked(text, why):
    with pytest.raises(ConfigError, match=why):
        parse(f"[clickhouse]\n{text}\n".encode(), Config)


def test_one_url_is_a_list_of_one():
    assert ClickHouseConfig(url="http://a:1").urls == ("http://a:1",)
    assert ClickHouseConfig(url=("http://a:1", "http://b:1"), replicas=True).urls[1] == "http://b:1"
