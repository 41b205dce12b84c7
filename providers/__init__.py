"""How notifications reach a provider: payloads, answers, routes, delivery, heartbeat, sandbox."""
