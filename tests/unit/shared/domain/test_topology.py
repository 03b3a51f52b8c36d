"""Queues, topics and subscriptions."""

from __future__ import annotations

from shared.domain.topology import TopicSubscription, Topology


def test_what_can_be_received_from_is_each_queue_and_each_subscription_of_each_topic() -> None:
    topics = {
        "a": (TopicSubscription("x", None), TopicSubscription("y", frozenset({"s"}))),
        "b": (TopicSubscription("x", None),),
    }
    assert Topology(queues=("q", "r"), topics=topics).entities() == ("q", "r", "a/x", "a/y", "b/x")
