"""Sends notifications to a provider: payloads, answers, routes, delivery, heartbeat, sandbox."""
