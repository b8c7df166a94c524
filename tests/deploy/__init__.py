"""Tests of deploy/: HAProxy with two real servers, and the rendered Helm chart."""
