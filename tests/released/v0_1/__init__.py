"""The state of release 0.1 (commit 724951b): `alert`, `records`, `violation`; `test_versions` compares them with it."""
