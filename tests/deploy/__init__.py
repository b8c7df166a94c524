"""Tests of the rendered Helm chart, and of HAProxy and nginx with two real servers."""
