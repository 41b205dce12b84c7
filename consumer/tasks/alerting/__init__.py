"""What a task does with decisions, provider answers and operators' commands."""
