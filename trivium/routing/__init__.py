"""Prompts and what experts lose on them to a router: which model of a library takes which prompt."""
